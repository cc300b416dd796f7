"""Make docs/reference.md: every public function and view, as a database's catalog has them.

`make reference` installs the extension, and runs this on a throw-away cluster.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from build_sql import expand_documentation
from cluster import Cluster

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "reference.md"
SCHEMA = "pgkeymgr"
PARALLEL_SINCE = 170000
"""The version of the server from which on parallel safety is as it was declared; see sql/parallel.sql."""
FOLDERS = {
    ".": "Root key, monitoring and the doctor",
    "crypto": "Primitives",
    "key": "Data keys, tokens and wraps",
    "sealed": "Sealed secrets and users' keys",
    "column": "Encrypted columns",
    "compat": "Compatibility",
}
"""The folders of sql/ in the order of the page, with their titles."""

_HEAD = """\
<!-- Made by scripts/reference_page.py from the catalog; do not edit. -->
# Reference

Every function and view of the extension that is meant to be used; what begins with an underscore is not. Each
entry says whom the installation lets use it: `PUBLIC` is everybody, `pgkeymgr_admin` is a member of
`pgkeymgr_user` and `pgkeymgr_monitor`, and superusers may use all of it. The access checks of the keys come on top
of that. Before PostgreSQL 17, the functions that look up keys of the table are parallel restricted; `blind_index`,
`deterministic_tokens` and the functions `search_…` are parallel unsafe.
"""

_FUNCTIONS = r"""
SELECT p.oid, p.proname,
    pg_catalog.pg_get_function_arguments(p.oid), pg_catalog.pg_get_function_result(p.oid),
    CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE
        CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END END,
    CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
    (
        SELECT pg_catalog.array_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
        FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
        WHERE a.grantee <> p.proowner
    ),
    pg_catalog.obj_description(p.oid, 'pg_proc')
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
JOIN pg_catalog.pg_extension AS e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
WHERE d.deptype = 'e' AND e.extname = 'pgkeymgr' AND p.proname !~ '^_'
ORDER BY p.oid
"""

_VIEWS = r"""
SELECT c.oid, c.relname,
    (
        SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', '
            ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ),
    (
        SELECT pg_catalog.array_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
        FROM pg_catalog.aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner
    ),
    pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
JOIN pg_catalog.pg_extension AS e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
WHERE d.deptype = 'e' AND e.extname = 'pgkeymgr' AND c.relkind = 'v' AND c.relname !~ '^_'
ORDER BY c.oid
"""

_COMMENT = re.compile(r"^COMMENT ON (\w+) @extschema@\.(.*?)\s+IS\b", re.MULTILINE | re.DOTALL)


class Entry(NamedTuple):
    """A function or a view."""

    folder: str
    file: str
    name: str
    signature: str
    properties: str
    comment: str


def sources() -> Iterator[tuple[Path, str, str]]:
    """Yield where the comment of each object is: the file, and what is commented on, its kind and its name."""
    for file in sorted((TOP / "sql").rglob("*.sql")):
        for kind, name in _COMMENT.findall(expand_documentation(file.read_text())):
            yield file.relative_to(TOP / "sql"), kind, name


def files(connection: psycopg.Connection[Any]) -> dict[int, Path]:
    """Return the source file of each commented function and view, by OID."""
    found = {}
    for file, kind, name in sources():
        if kind == "OPERATOR":
            continue
        lookup = "to_regprocedure" if kind in {"FUNCTION", "PROCEDURE", "AGGREGATE"} else "to_regclass"
        qualified = f"{SCHEMA}.{name}".replace("@extschema@", SCHEMA)
        row = connection.execute(f"SELECT {lookup}(%s)::oid", (qualified,)).fetchone()
        if row is not None and row[0] is not None:
            found[row[0]] = file
    return found


def declared_parallel(file: Path, name: str) -> list[str]:
    """Return the parallel safety that a file declares for a function and its overloads, in their order."""
    source = (TOP / "sql" / file).read_text()
    declarations = re.findall(
        rf"^CREATE FUNCTION @extschema@\.{name}\((.*?)^AS ", source, re.MULTILINE | re.DOTALL
    )
    return [
        found[1].lower() if (found := re.search(r"\bPARALLEL (\w+)", text)) else "unsafe" for text in declarations
    ]


def entries(connection: psycopg.Connection[Any]) -> list[Entry]:
    """Return all functions and views, in the order of the page.

    Args:
        connection: to a database with the extension in the schema pgkeymgr; its search path is set to that.
    """
    connection.execute(f"SET search_path = {SCHEMA}")
    file_of = files(connection)
    found = []
    seen: Counter[tuple[Path, str]] = Counter()
    for oid, name, arguments, result, kind, in_catalog, callers, comment in connection.execute(
        _FUNCTIONS.encode()
    ):
        file = file_of[oid]
        parallel = in_catalog
        if connection.info.server_version < PARALLEL_SINCE and kind not in {"procedure", "aggregate"}:
            # sql/parallel.sql has changed the catalog there. The page is the same for all versions.
            parallel = declared_parallel(file, name)[seen[file, name]]
            seen[file, name] += 1
        gives = "" if result is None else f" → {result}"
        may_call = ", ".join(callers or ["superusers only"])
        properties = f"{kind}, parallel {parallel}; {may_call}"
        found.append(
            Entry(file.parent.name or ".", file.stem, name, f"{name}({arguments}){gives}", properties, comment)
        )
    for oid, name, columns, readers, comment in connection.execute(_VIEWS.encode()):
        file = file_of[oid]
        properties = f"view; {', '.join(readers or ['superusers only'])}"
        found.append(Entry(file.parent.name or ".", file.stem, name, f"{name} ({columns})", properties, comment))
    folders = list(FOLDERS)
    # The files in the order in which the installation reads them, and overloads together, with the first of them.
    first: dict[tuple[str, ...], int] = {}
    for number, entry in enumerate(found):
        for key in ((entry.folder, entry.file), (entry.folder, entry.file, entry.name)):
            first.setdefault(key, number)
    found.sort(
        key=lambda entry: (
            folders.index(entry.folder),
            first[entry.folder, entry.file],
            first[entry.folder, entry.file, entry.name],
        )
    )
    return found


def escape(comment: str) -> str:
    """Return a comment as Markdown that shows it as it is."""
    return re.sub(r"([\\`*<])", r"\\\1", comment)


def title(folder: str, file: str) -> str:
    """Return the title of a source file: the first sentence of its first line."""
    first_line = (TOP / "sql" / folder / f"{file}.sql").read_text().splitlines()[0]
    before_module = first_line.removeprefix("-- ").partition(" Python: ")[0]
    # A sentence ends with one period; an ellipsis has more.
    return re.split(r"(?<!\.)\.(?:\s|$)", before_module)[0]


def page(connection: psycopg.Connection[Any]) -> str:
    """Return the text of docs/reference.md; see entries."""
    lines = [_HEAD]
    for folder, of_folder in groupby(entries(connection), key=lambda entry: entry.folder):
        lines.append(f"## {FOLDERS[folder]}\n")
        for file, of_file in groupby(of_folder, key=lambda entry: entry.file):
            lines.append(f"### {title(folder, file)}\n")
            for name, overloads in groupby(of_file, key=lambda entry: entry.name):
                lines.append(f"#### {name}\n")
                for entry in overloads:
                    lines.append(f"    {entry.signature}\n\n{escape(entry.comment)} *({entry.properties})*\n")
    return "\n".join(lines)


if __name__ == "__main__":
    with Cluster() as cluster:
        cluster.create_database("reference", SCHEMA)
        with cluster.connect("reference") as session:
            PAGE.write_text(page(session))
