"""Keeps the privileges of a view and of its base table the same."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..key.database import Database
from ..key.shared_names import valid_name
from .quoting import quote_name

_Grant = tuple[str, str, str, bool]  # column or nothing, grantee's OID, privilege, with grant option
_Implied = tuple[Iterable[str], Iterable[str]]
_NONE: _Implied = ((), ())


@dataclass
class Difference:
    """The privileges in which two relations differ.

    Attributes:
        lacking: the privileges that the target lacks.
        excess: the privileges that only the target has.
        former: the privileges that the target would have if the source still had the remembered privileges.
    """

    lacking: set[_Grant]
    excess: set[_Grant]
    former: set[_Grant]

    def __bool__(self) -> bool:
        return bool(self.lacking or self.excess)

    def is_of_target(self, command: str, owner: int) -> bool:
        """Return whether a statement on the target, and none on the source, has made the difference.

        A dump has the privileges of both, and not in this order: so a difference counts only if it is none from
        the privileges that the target had when it last followed the source, and if it is none of the owner's own,
        which a dump revokes before it grants them again.

        Args:
            command: ``GRANT`` or ``REVOKE``.
            owner: the OID of the owner of the target.
        """
        made = self.excess - self.former if command == "GRANT" else self.lacking & self.former
        return any(grantee != str(owner) for _, grantee, _, _ in made)


def differing_privileges(
    database: Database,
    source: int,
    target: int,
    names: Mapping[str, Iterable[str]],
    implied: _Implied = _NONE,
    remembered: list[list[Any]] | None = None,
) -> Difference:
    """Compare the privileges on two relations.

    Args:
        database: with ``search_path`` = pg_catalog.
        source: the OID of the relation with the right privileges.
        target: the OID of the other relation.
        names: the columns of the target, by the columns of the source.
        implied: two lists of columns of the target: a role that may INSERT any columns may also INSERT the first
            ones, and a role that may UPDATE any columns may also SELECT the second ones.
        remembered: the earlier privileges of the source, from ``privileges_by_name``; None for its present ones.

    Returns:
        The difference.
    """
    # One query reads both relations at one moment. Otherwise another session's GRANT could be in only one answer.
    grants = _grants(database, source, target)
    wanted = _wanted(grants[source], names, implied)
    former = wanted if remembered is None else _wanted(_by_oid(database, remembered), names, implied)
    have = grants[target]
    return Difference(wanted - have, have - wanted, former)


def _wanted(source: set[_Grant], names: Mapping[str, Iterable[str]], implied: _Implied) -> set[_Grant]:
    wanted = set()
    for column, grantee, privilege, grantable in source:
        for name in names.get(column, ()) if column else ("",):
            wanted.add((name, grantee, privilege, grantable))
        if column and privilege in ("INSERT", "UPDATE"):
            needed = "INSERT" if privilege == "INSERT" else "SELECT"
            wanted |= {(each, grantee, needed, False) for each in implied[needed == "SELECT"]}
    # Remove a grant without the grant option where the same grant with the option is wanted.
    return wanted - {(*grant[:3], False) for grant in wanted if grant[3]}


def privileges_by_name(database: Database, relation: int) -> list[list[Any]]:
    """Return the privileges on a relation, to be remembered: roles by their names, PUBLIC as an empty one."""
    found = _grants(database, relation)[relation]
    oids = {int(grantee) for _, grantee, _, _ in found}
    names = {
        str(row["oid"]): row["name"]
        for row in database.query(
            f"SELECT oid::bigint AS oid, {valid_name('rolname')} AS name FROM pg_roles WHERE oid = ANY ($1)",
            ("oid[]", sorted(oids)),
        )
    }
    names["0"] = ""
    return sorted([column, names[grantee], *rest] for column, grantee, *rest in found if grantee in names)


def _by_oid(database: Database, remembered: list[list[Any]]) -> set[_Grant]:
    oids = {
        row["name"]: str(row["oid"])
        for row in database.query(
            "SELECT oid::bigint AS oid, rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1)",
            ("text[]", sorted({role for _, role, _, _ in remembered})),
        )
    }
    oids[""] = "0"
    return {
        (column, oids[role], privilege, grantable)
        for column, role, privilege, grantable in remembered
        if role in oids
    }


def copy_privileges(
    database: Database,
    source: int,
    target: int,
    names: Mapping[str, Iterable[str]],
    implied: _Implied = _NONE,
    *,
    run: Callable[[str], Any],
) -> None:
    """Give every role the privileges on one relation that it has on another, and no more.

    Args:
        database: see ``differing_privileges``.
        source: see there.
        target: see there.
        names: see there.
        implied: see there.
        run: runs a statement with the rights of the owner of the target.
    """
    difference = differing_privileges(database, source, target, names, implied)
    (row,) = database.query("SELECT $1::regclass::text AS name", ("oid", target))
    for column, grantee, privilege, _ in difference.excess:
        # The role may have granted it to others, who have it from the owner on the other relation.
        run(f"REVOKE {_privilege(privilege, column)} ON {row['name']} FROM {_role(database, grantee)} CASCADE")
    if difference.excess:
        difference = differing_privileges(database, source, target, names, implied)
    for column, grantee, privilege, grantable in sorted(difference.lacking):
        option = " WITH GRANT OPTION" if grantable else ""
        role = _role(database, grantee)
        run(f"GRANT {_privilege(privilege, column)} ON {row['name']} TO {role}{option}")


def inserters(database: Database, relation: int) -> set[str]:
    """Return the OIDs of the roles that may INSERT anything into a relation; ``0`` is PUBLIC."""
    return {grantee for _, grantee, privilege, _ in _grants(database, relation)[relation] if privilege == "INSERT"}


def readers_and_writers(
    database: Database, relation: int, name: str, *, has_default: bool
) -> tuple[set[str], set[str]]:
    """Return the roles that may read a column, and those that may write it.

    Args:
        database: with ``search_path`` = pg_catalog.
        relation: the OID of the view.
        name: the name of the column.
        has_default: whether the roles that write other columns also write the default of this column.

    Returns:
        The OIDs of roles with SELECT, or with UPDATE of anything, which looks at whole rows; and those with INSERT
        or UPDATE. ``0`` stands for PUBLIC.
    """
    readers, writers = set(), set()
    for column, grantee, privilege, _ in _grants(database, relation)[relation]:
        is_of_it = column in ("", name)
        if privilege == "UPDATE" or (privilege == "SELECT" and is_of_it):
            readers.add(grantee)
        if (privilege in ("INSERT", "UPDATE") and is_of_it) or (privilege == "INSERT" and has_default):
            writers.add(grantee)
    return readers, writers


def grantees(database: Database, relation: int) -> set[str]:
    """Return the OIDs of the roles that have any privilege on a relation or its columns; ``0`` is PUBLIC."""
    return {grantee for _, grantee, _, _ in _grants(database, relation)[relation]}


def _grants(database: Database, *relations: int) -> dict[int, set[_Grant]]:
    rows = database.query(
        "SELECT c.oid, '' AS name, x.grantee::text AS grantee, x.privilege_type AS privilege,"
        " x.is_grantable AS grantable"
        " FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x"
        " WHERE c.oid = ANY ($1)"
        " UNION ALL SELECT a.attrelid, a.attname, x.grantee::text, x.privilege_type, x.is_grantable"
        " FROM pg_attribute AS a, aclexplode(a.attacl) AS x"
        " WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped",
        ("oid[]", list(relations)),
    )
    grants: dict[int, set[_Grant]] = {relation: set() for relation in relations}
    for row in rows:
        grants[int(row["oid"])].add((row["name"], row["grantee"], row["privilege"], row["grantable"]))
    return grants


def _privilege(privilege: str, column: str) -> str:
    return f"{privilege} ({quote_name(column)})" if column else privilege


def _role(database: Database, oid: str) -> str:
    if oid == "0":
        return "PUBLIC"
    name = valid_name("pg_get_userbyid($1)")
    (row,) = database.query(f"SELECT {name} AS name", ("oid", int(oid)))
    return quote_name(row["name"])
