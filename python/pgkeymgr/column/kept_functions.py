"""The functions of users that a session keeps as it read them, and that run with the rights of another role later.

A session keeps a function of PL/pgSQL, and from PostgreSQL 18 on one of SQL, as it was read in the first call: the
types of its variables by the search_path of that call, and its constants by other settings. A role that may
execute the function can make the first call itself, with a domain of its own named ``text``, for example. The
CHECK of this domain then runs whenever the function does, also where pgkeymgr calls the function with the rights
of the owner of a table, for a mask or for ``verify_column``. So such functions have settings of their own, or only
their owners may execute them.

This holds for the functions that pgkeymgr calls, for those that their texts call, at any depth, and for those that
a value of a type calls: in the CHECK of a domain, or in a cast.
"""

import re
from typing import Any

from ..errors import KeyStateError, ParameterError, PrivilegeError
from ..key.database import Database
from .catalog import Table
from .quoting import quote_literal
from .relations import Relations

Row = dict[str, Any]

READ_BY = {
    "search_path": "pg_catalog, pg_temp",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
}
"""The settings by which PostgreSQL reads the text of a function, with the values that pgkeymgr gives them."""

# A name has at most 63 bytes.
_NAME = r'(?:"((?:[^"]|""){1,63})"|(?<![\w$])([^\W\d][\w$]{0,62}))'
_CAST = re.compile(rf"::\s*{_NAME}(?:\.{_NAME})?(\[\])?")
_CALL = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})?\s*\(")
_OTHERS_MAY_EXECUTE = """
    EXISTS (
        SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee <> p.proowner
    )
"""
_FACTS = f"""
    p.oid::bigint AS oid, p.oid::regprocedure::text AS name, p.prosrc AS source,
    coalesce(p.proconfig, '{{}}') AS settings,
    p.proowner::bigint AS owner, {_OTHERS_MAY_EXECUTE} AS is_open
    FROM pg_proc AS p
    JOIN pg_language AS l ON l.oid = p.prolang
    WHERE l.lanname IN ('sql', 'plpgsql')
        -- PostgreSQL has read a body that begins with BEGIN ATOMIC or RETURN when the function was made.
        AND p.prosqlbody IS NULL
        AND p.pronamespace <> 'pg_catalog'::regnamespace
        AND NOT EXISTS (
            SELECT FROM pg_depend AS e
            WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
        )
"""
_BY_OID = f"SELECT {_FACTS} AND p.oid = ANY ($1)"
_BY_NAME = f"""
    SELECT {_FACTS}
        AND p.proname = ANY ($1)
        AND (p.pronamespace = to_regnamespace(quote_ident($2))::oid OR $2 = '')
"""
_USED = """
    WITH RECURSIVE used (type) AS (
        SELECT t FROM unnest($1) AS t
        UNION
        SELECT n.type
        FROM used AS u
        CROSS JOIN LATERAL (
            SELECT t.typbasetype FROM pg_type AS t WHERE t.oid = u.type
            UNION ALL SELECT t.typelem FROM pg_type AS t WHERE t.oid = u.type
            UNION ALL SELECT a.atttypid FROM pg_type AS t JOIN pg_attribute AS a ON a.attrelid = t.typrelid
                WHERE t.oid = u.type AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE u.type IN (r.rngtypid, r.rngmultitypid)
        ) AS n (type)
        WHERE n.type <> 0
    )
"""
_OF_TYPES = f"""
    {_USED}, called (function) AS (
        SELECT d.refobjid
        FROM used AS u
        JOIN pg_constraint AS c ON c.contypid = u.type
        JOIN pg_depend AS d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_proc'::regclass
        UNION
        SELECT c.castfunc FROM used AS u JOIN pg_cast AS c ON u.type IN (c.castsource, c.casttarget)
    )
    SELECT {_FACTS} AND p.oid IN (SELECT function FROM called)
"""
_HAVE_CHECKS = f"""
    {_USED} SELECT FROM used AS u JOIN pg_constraint AS c ON c.contypid = u.type AND c.contype = 'c' LIMIT 1
"""


class KeptFunctions:
    """The functions that a session keeps, for one session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fix(self, relations: Relations, function: str, column_type: str, base: Table) -> None:
        """Give a function the settings that it lacks, and refuse it if another one that it calls lacks some.

        Args:
            relations: those of the session.
            function: the function, as ``regprocedure`` has it.
            column_type: the type of the column, as SQL has it.
            base: the table. Its owner owns the function.

        Raises:
            ParameterError: other roles can execute a function that this one calls, and it lacks settings.
        """
        (oids,) = self._read(
            "SELECT $1::regprocedure::oid::bigint AS function, $2::regtype::oid::bigint AS type",
            ("text", function),
            ("text", column_type),
        )
        for each in self._read(_BY_OID, ("oid[]", [oids["function"]])):
            missing = _missing(each)
            if "search_path" in missing and (path := _own(each).get("search_path")):
                missing["search_path"] = f"{path}, pg_temp"
            for name, value in missing.items():
                # A quoted list of schemas would be the name of a single one.
                setting = value if name == "search_path" else quote_literal(value)
                relations.run(base, f'ALTER FUNCTION {function} SET "{name}" = {setting}')
        for each in self._open([oids["function"]], [oids["type"]]):
            raise ParameterError(
                f"the mask function {function} calls {each['name']}, which other roles can call first with other "
                "settings",
                hint="Revoke EXECUTE on this function from PUBLIC and all other roles, or give it settings of its "
                f"own: {', '.join(_missing(each))}.",
            )

    def check(self, oid: int, column_type: int, column: str) -> None:
        """Refuse a function if a reader's session can change what it does.

        Args:
            oid: the OID of the function.
            column_type: the OID of the type of the column.
            column: the column, as messages name it.

        Raises:
            KeyStateError: the function, or another one that it calls, has lost its settings.
        """
        for each in self._open([oid], [column_type]):
            raise KeyStateError(
                f"the mask function of {column} needs {each['name']}, which other roles can call first with other "
                "settings",
                hint="The owner of the table can call set_mask() again, which fixes the settings or says what is "
                "missing.",
            )

    def check_values(self, types: list[int], base: Table) -> None:
        """Refuse to read values of a table with the rights of its owner for a role that is not the owner.

        Args:
            types: the OIDs of the types of the values.
            base: the table.

        Raises:
            PrivilegeError: the current user could have called a function first that these types call.
        """
        (row,) = self._database.query(
            "SELECT pg_catalog.pg_has_role($1, 'USAGE') AS is_own", ("oid", base.owner_oid)
        )
        if row["is_own"]:
            return
        for each in self._open([], types):
            raise PrivilegeError(
                f"permission denied for table {base}: its values call {each['name']}, which this session can have "
                "called first with other settings",
                hint="Call it as the owner of the table or as a superuser.",
            )

    def in_literals(self, text: str) -> list[str]:
        """Return the functions without settings that PostgreSQL can call when it parses a text.

        It reads a literal of an array, a composite type or a range at once, with the CHECKs of domains in it, and
        that of a domain only when the query runs.

        Args:
            text: an expression or a definition, as PostgreSQL writes it.

        Returns:
            The names of the functions that other roles than their owners can execute.
        """
        types = self._of_literals(text)
        return [each["name"] for each in self._open([], types)] if types else []

    def checks_literals(self, text: str) -> bool:
        """Return whether PostgreSQL can run a CHECK of a domain, with any code in it, when it parses a text.

        Args:
            text: see ``in_literals``.
        """
        types = self._of_literals(text)
        return bool(types and self._read(_HAVE_CHECKS, ("oid[]", types)))

    def _of_literals(self, text: str) -> list[int]:
        """Return the OIDs of the types whose literals in a text PostgreSQL reads when it parses the text."""
        names: dict[bool, set[str]] = {False: set(), True: set()}
        for quoted_1, name_1, quoted_2, name_2, array in _CAST.findall(text):
            name = (quoted_2 or name_2 or quoted_1 or name_1).replace('""', '"')
            names[bool(array)].add(name)
        types = self._read(
            "SELECT t.oid::bigint AS oid FROM pg_type AS t LEFT JOIN pg_type AS b ON b.oid = t.typbasetype"
            " WHERE t.typname = ANY ($1) OR (t.typname = ANY ($2) AND (t.typtype IN ('c', 'r', 'm')"
            " OR b.typtype IN ('c', 'r', 'm', 'd') OR b.typcategory = 'A'))",
            ("text[]", sorted(names[True])),
            ("text[]", sorted(names[False])),
        )
        return [row["oid"] for row in types]

    def _open(self, functions: list[int], types: list[int]) -> list[Row]:
        """Return the functions that lack settings, and that roles other than their owners can execute."""
        found: dict[tuple[int, str], Row] = {}
        first = [*self._read(_BY_OID, ("oid[]", functions)), *self._read(_OF_TYPES, ("oid[]", types))]
        waiting = [(each, READ_BY["search_path"]) for each in first]
        while waiting:
            each, path = waiting.pop()
            path = _own(each).get("search_path", path)
            if (each["oid"], path) not in found:
                found[each["oid"], path] = each
                waiting += [(called, path) for called in self._called_by(each, path)]
        return [each for each in found.values() if each["is_open"] and _missing(each)]

    def _called_by(self, function: Row, path: str) -> list[Row]:
        """Return the functions whose names stand before a parenthesis in the text of a function.

        Args:
            function: the function.
            path: its search_path. Functions of PostgreSQL do not count, nor do those of other schemas that the
                text names without their schema, unless the path has other schemas.
        """
        has_other_schemas = not {"pg_catalog", "pg_temp"}.issuperset(path.split(", "))
        by_schema: dict[str, set[str]] = {}
        for quoted_1, name_1, quoted_2, name_2 in _CALL.findall(function["source"]):
            first = quoted_1.replace('""', '"') or name_1.lower()
            second = quoted_2.replace('""', '"') or name_2.lower()
            schema, name = (first, second) if second else ("", first)
            if schema or has_other_schemas:
                by_schema.setdefault(schema, set()).add(name)
        return [
            each
            for schema, names in by_schema.items()
            for each in self._read(_BY_NAME, ("text[]", sorted(names)), ("text", schema))
        ]

    def _read(self, query: str, *arguments: tuple[str, object]) -> list[Row]:
        rows: list[Row] = self._database.read_as_owner(lambda: self._database.execute(query, *arguments))
        return rows


def _missing(function: Row) -> dict[str, str]:
    """Return the settings that a function lacks. Its path must end with pg_temp, which would come first."""
    own = _own(function)
    missing = {name: value for name, value in READ_BY.items() if name not in own}
    if (path := own.get("search_path")) is not None and path.split(", ")[-1] != "pg_temp":
        missing["search_path"] = READ_BY["search_path"]
    return missing


def _own(function: Row) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in function["settings"])
