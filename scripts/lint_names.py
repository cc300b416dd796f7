"""Find names without a schema in SQL that runs in the caller's search_path.

The caller of a function can have put anything in front of PostgreSQL's own types, operators, functions and
relations. So what runs under the caller's search_path names each with its schema; what runs under a search_path of
its own need not.

As a script, it reads the statements in the Python package: all strings that are SQL, but for those that are given
to ``execute``, which runs in ``as_owner`` only, and those that PINNED lists. It prints each name that it finds,
and fails if there is one. test/python/test_names.py reads what the package generates.
"""

import ast
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pglast

PACKAGE = Path(__file__).parents[1] / "python/pgkeymgr"

PINNED = {
    "adapter/ddl.py": "an adapter writes it for the client's own search_path",
    "column/adopt_table.py": "adopt_encrypted_table and forget_dropped_table pin it",
    "column/base_table.py": "who changes a base table pins it",
    "column/blind_index.py:stand_for_uniques": "encrypt_column pins it",
    "column/catalog.py": "who reads the catalog with it pins it",
    "column/comments.py": "encrypt_column, refresh_encrypted_view, _after_ddl and the procedures pin it",
    "column/decrypt_column.py": "the procedure pins it for each of its transactions",
    "column/ddl.py": "_after_ddl pins it",
    "column/encrypt_column.py": "encrypt_column pins it",
    "column/dependent_objects.py": "who calls it pins it, since the definitions are read under it",
    "column/derived_plaintext.py": "encrypt_column pins it",
    "column/attach_partition.py": "it pins it for each of its transactions",
    "column/detached.py": "_after_ddl and attach_encrypted_partition pin it",
    "column/partitions.py": "who reads the catalog of a whole table pins it",
    "column/partman.py": "encrypt_column, plan_encrypt_column and decrypt_column pin it",
    "column/finish_update.py": "finish_update pins it",
    "column/layout_0_1_0.py": "finish_update pins it",
    "column/foreign_code.py": "who writes whole tables pins it",
    "column/index_options.py": "encrypt_column, rotate_blind_index and decrypt_column pin it",
    "column/obstacles.py": "encrypt_column pins it",
    "column/operation.py": "the procedures pin it for each of their transactions",
    "column/plan_encrypt_column.py": "plan_encrypt_column pins it",
    "column/privileges.py": "encrypt_column and _after_ddl pin it",
    "column/postgres_index.py:_indexes": "blind_index_statements and build_blind_index pin it",
    "column/postgres_index.py:_indexes_with": "rotate_blind_index pins it",
    "column/postgres_index.py:_statements": "blind_index_statements and build_blind_index pin it",
    "column/progress.py": "all of it runs in as_owner",
    "column/registry.py": "all of it runs in as_owner",
    "column/kept_functions.py": "all queries of the catalog run in read_as_owner",
    "column/relations.py:_tree": "the procedures pin it",
    "column/relations.py:admit": "who changes a table, or verifies it, pins it",
    "column/relations.py:check_owner": "who locks a table pins it",
    "column/relations.py:may_create": "who changes a table pins it",
    "column/relations.py:names_of_constraints": "encrypt_column pins it",
    "column/relations.py:names_of_relations": "encrypt_column and add_blind_index pin it",
    "column/relations.py:without_triggers": "who writes whole tables pins it",
    "column/structure.py": "encrypt_column and _after_ddl pin it",
    "column/verify_column.py": "verify_column and _count_values pin it",
    "column/walk.py": "the procedures pin it for each of their transactions",
    "column/triggers.py": "test/python/test_names.py reads what it makes",
    "column/view.py": "encrypt_column, refresh_encrypted_view and _after_ddl pin it",
    "command": "a connection of its own pins it",
    "django": "an adapter writes it for the client's own search_path",
    "doctor": "all of it runs in as_owner",
    "key/audit.py": "all of it runs in as_owner",
    "key/ids.py": "all of it runs in as_owner",
    "key/wrap_rows.py:rewrap_under_root": "it gives the query to execute",
    "key/wrap_rows.py:sealed_to": "it gives the query to execute",
    "sealed/exchange.py:rotate_exchange_key": "its queries run in as_owner",
    "sqlalchemy": "an adapter writes it for the client's own search_path",
}
"""The directories, modules and functions whose statements run under a search_path of their own, and why."""

_SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|LOCK TABLE|ALTER|CREATE|DROP|GRANT|REVOKE|COMMENT ON|CALL)\s"
)
_PLACE = "placeholder"
"""Stands for what is put into a statement; it has a schema, or is none of ours."""
_PLACES = (_PLACE, "", f"{_PLACE} = {_PLACE}")
"""The kinds of what is put there: a name or an expression, a word or nothing, an assignment."""

# How libpg_query says what the text of an expression is.
_STATEMENT = 0
_ASSIGNMENTS = (3, 4, 5)

_OPERATORS = ("AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR")
_WORDS = {
    "AEXPR_DISTINCT": "IS DISTINCT FROM",
    "AEXPR_NOT_DISTINCT": "IS NOT DISTINCT FROM",
    "AEXPR_NULLIF": "NULLIF",
    "AEXPR_IN": "IN",
    "AEXPR_BETWEEN": "BETWEEN",
    "AEXPR_NOT_BETWEEN": "NOT BETWEEN",
    "AEXPR_BETWEEN_SYM": "BETWEEN SYMMETRIC",
    "AEXPR_NOT_BETWEEN_SYM": "NOT BETWEEN SYMMETRIC",
}


def unqualified(sql: str, known: frozenset[str] = frozenset()) -> list[str]:
    """Return what statements name without a schema.

    Args:
        sql: the statements.
        known: names of relations that need none, as those of CTEs do not.

    Returns:
        Each with its kind, in the order of the text.

    Raises:
        pglast.Error: it is not SQL.
    """
    tree = json.loads(pglast.parser.parse_sql_json(sql))
    known |= {node["ctename"] for kind, node in _nodes(tree) if kind == "CommonTableExpr"}
    # FOR UPDATE OF names an alias as if it were a relation.
    known |= {node["aliasname"] for kind, node in _nodes(tree) if kind == "alias"}
    return [name for kind, node in _nodes(tree) if (name := _finding(kind, node, known))]


def unqualified_in_plpgsql(function: str) -> list[str]:
    """Return what a CREATE FUNCTION statement of PL/pgSQL names without a schema, in its body."""
    # The parser does not know the catalog, and takes this one for a scalar.
    tree = pglast.parse_plpgsql(re.sub(r" pg_catalog\.record;", " record;", function))
    declaration = r"^\s*(?!EXIT )\w+ (record|[a-z]\w*(?:\(\d+\))?(?:\[\])?);$"
    found = [
        f"type {name}"
        for name in re.findall(declaration, function, re.MULTILINE)
        if name == "record" or not re.match(r"bigint|boolean|integer|numeric|smallint|real|RETURN|NULL", name)
    ]
    for kind, node in _nodes(tree):
        if kind == "PLpgSQL_expr":
            query, mode = node["query"], node.get("parseMode", _STATEMENT)
            if mode in _ASSIGNMENTS:
                query = query.partition(":=")[2]
            found += unqualified(query if mode == _STATEMENT else f"SELECT {query}")
    return found


_KIND_OF_FIELD = {"typeName": "TypeName", "relation": "RangeVar"}


def _nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(tree, list):
        for each in tree:
            yield from _nodes(each)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict):
                # Fields that can only be of one kind have no name of a node.
                yield str(_KIND_OF_FIELD.get(key, key)), value
            yield from _nodes(value)


def _finding(kind: str, node: dict[str, Any], relations: frozenset[str]) -> str | None:
    found = None
    if kind == "FuncCall":
        found = _single("function", node["funcname"])
    elif kind == "TypeName":
        found = _single("type", node.get("names", ()))
    elif kind == "CollateClause":
        found = _single("collation", node["collname"])
    elif kind == "A_Expr" and node["kind"] in _OPERATORS:
        found = _single("operator", node["name"])
    elif kind == "A_Expr" and node["kind"] in _WORDS and not _compares_with_null(node):
        found = f"the operators of {_WORDS[node['kind']]}"
    elif kind == "SubLink":
        if node["subLinkType"] in ("ANY_SUBLINK", "ALL_SUBLINK"):
            found = _single("operator", node["operName"]) if "operName" in node else "the operator of IN"
    elif kind == "CaseExpr" and "arg" in node:
        found = "the operator of CASE … WHEN"
    elif kind == "JoinExpr" and ("usingClause" in node or node.get("isNatural")):
        found = "the operator of JOIN … USING"
    elif kind == "SortBy" and "useOp" in node:
        found = _single("operator", node["useOp"])
    elif kind == "RangeVar" and "schemaname" not in node:
        name = node["relname"]
        if name not in relations and not name.startswith(_PLACE):
            found = f"relation {name}"
    return found


def _compares_with_null(node: dict[str, Any]) -> bool:
    # IS DISTINCT FROM NULL: PostgreSQL makes a NullTest of it, which has no operator.
    return any(
        node[side].get("A_Const", {}).get("isnull")
        for side in ("lexpr", "rexpr")
        if side in node and isinstance(node[side], dict)
    )


def _single(kind: str, names: Any) -> str | None:
    parts = [each["String"]["sval"] for each in names]
    return f"{kind} {parts[0]}" if len(parts) == 1 and not parts[0].startswith(_PLACE) else None


def _statements(module: str, source: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source)
    documentation = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    skipped: set[ast.AST] = {*documentation} | {
        argument
        for call in calls
        for argument in call.args
        if isinstance(call.func, ast.Attribute | ast.Name)
        and (call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id) == "execute"
    }
    skipped |= {keyword.value for call in calls for keyword in call.keywords if keyword.arg == "hint"}
    skipped |= {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and f"{module}:{node.name}" in PINNED
        for inner in ast.walk(node)
    }
    skipped |= {piece for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if node not in skipped and _SQL.match(text := _text(node)):
            yield node.lineno, text  # type: ignore[attr-defined]  # strings are expressions


def _text(node: ast.AST) -> str:
    r"""Return a string with \0 in the place of each thing that is put into it; nothing for another node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{\w*\}", "\0", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(piece) if isinstance(piece, ast.Constant) else "\0" for piece in node.values)
    return ""


def _check(text: str) -> list[str]:
    pieces = text.split("\0")
    problem = ""
    for places in itertools.product(_PLACES, repeat=len(pieces) - 1):
        sql = pieces[0] + "".join(place + piece for place, piece in zip(places, pieces[1:], strict=True))
        try:
            return unqualified(sql)
        except pglast.Error as error:
            problem = problem or str(error)
    return [f"it does not parse: {problem}"]


def main() -> int:
    """Print what there is to be qualified; return the exit status."""
    count = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if module in PINNED or module.partition("/")[0] in PINNED:
            continue
        for line, text in _statements(module, path.read_text()):
            found = _check(text)
            for each in found:
                print(f"python/pgkeymgr/{module}:{line}: {each}")
            count += len(found)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
