"""``pgkeymgr keys``: list the keys of all roles, without their secrets, and change their state and grants."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import FAILED, report, report_failures
from .interface import Command, Group
from .interval import checked_interval
from .listing import Rows, end, rows_of, show_rows
from .output import (
    Format,
    FormatOption,
    Json,
    chosen_format,
    confirm,
    escape,
    message,
    print_csv,
    print_json,
    print_paragraph,
    print_table,
)
from .state import KEY_STATE
from .target import AllDatabases, Databases, Dsn, OneDatabase, connects

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, success; 1, failure, or a database could not be examined; 2, wrong usage."

_VERSIONS = f"""
    SELECT
        v.id, v.name, {KEY_STATE} AS state,
        v.key_type::text AS type, v.owner::text AS owner, v.created, v.expires,
        v.encrypts_until, v.destroy_after, v.family, v.superseded_by, v.wraps, v.root_key,
        v.shared_with::text[] AS shared_with, v.comment,
        v.uuid::text AS uuid,
        ARRAY(
            SELECT DISTINCT pg_catalog.format('%%s.%%I', u.relation, u.column_name)
            FROM {{s}}.key_usage AS u WHERE u.key_id = v.id ORDER BY 1
        ) AS needed_by
    FROM {{s}}.key_versions AS v
    WHERE
        (%s::text IS NULL OR v.name = %s OR v.id::text = %s)
        AND (%s::boolean OR (v.is_current AND v.state <> 'destroyed'))
    ORDER BY v.name NULLS LAST, v.id
"""  # noqa: S608
_SHOWN = ("state", "type", "owner", "created", "encrypts_until", "expires", "destroy_after", "superseded_by",
          "wraps", "root_key", "shared_with", "comment", "uuid")  # fmt: skip
_GRANTS = """
    SELECT g.role::text AS role, g.usage, g.source, g.through::text AS through, g.grantor, g.granted
    FROM {s}.key_grants AS g
    JOIN {s}.key_versions AS v ON v.id = %s AND g.family IN (v.family, v.parent_family)
    ORDER BY 1, 3, 4
"""
_USAGE = """
    SELECT u.relation, u.column_name::text AS column, u.need
    FROM {s}.key_usage AS u WHERE u.key_id = %s ORDER BY 1, 2, 3
"""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List and show keys, and change their state and grants.",
)

_Key = Annotated[str, typer.Argument(metavar="KEY", help="The name of the key, or the id of a version.")]
_Role = Annotated[str, typer.Argument(metavar="ROLE", help="The name of the role.")]
_Usage = Annotated[
    list[str] | None,
    typer.Option("--usage", metavar="USAGE", help="encrypt, decrypt, search or masked; may be repeated."),
]


@app.command("list", cls=Command, epilog=EPILOG)
@connects
def list_(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also list superseded and destroyed versions.")
    ] = False,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """List the current versions of all keys, with the columns that need them."""
    chosen = chosen_format(format_, json)
    rows, problems = rows_of(dsn, database, all_databases, lambda each: _versions(each, None, every=every))
    columns = {
        "key": "name",
        "id": "id",
        "state": "state",
        "owner": "owner",
        "expires": "expires",
        "destroy after": "destroy_after",
        "wraps": "wraps",
        "needed by": "needed_by",
    }
    show_rows(rows, problems, columns, chosen, "There are no keys.")


def _versions(database: "Database", name: str | None, *, every: bool) -> Rows:
    return [dict(row) for row in database.query(_VERSIONS, name, name, name, every)]


@app.command(cls=Command, epilog=EPILOG)
@connects
def show(
    key: _Key,
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    format_: FormatOption = None,
    json: Json = False,
) -> None:
    """Show all versions of a key, the roles that can use it, and the columns that need each version."""
    chosen = chosen_format(format_, json)

    def look(each: "Database") -> Rows:
        found = _versions(each, key, every=True)
        return [
            {**row, "grants": each.query(_GRANTS, row["id"]), "usage": each.query(_USAGE, row["id"])}
            for row in found
        ]

    rows, problems = rows_of(dsn, database, all_databases, look)
    if chosen == Format.JSON:
        print_json({"rows": rows, "problems": problems})
    elif chosen == Format.CSV:
        names = [name for name in rows[0] if name not in ("grants", "usage")] if rows else ["database"]
        print_csv(names, [[row[name] for name in names] for row in rows])
    else:
        for number, row in enumerate(rows):
            if number:
                typer.echo()
            _show(row)
    if not rows and not problems:
        report(f'key "{escape(key)}" does not exist', "pgkeymgr keys list --all lists the keys.")
        raise typer.Exit(FAILED)
    end(problems)


def _show(row: dict[str, Any]) -> None:
    name = "without a name" if row["name"] is None else escape(row["name"])
    print_paragraph(f"key {row['id']} ({name}) in database {escape(row['database'])}")
    for label in _SHOWN:
        if row[label] not in (None, []):
            print_paragraph(escape(row[label]), " " * 16, f"  {label.replace('_', ' '):14}")
    for title, headings in (
        ("grants", ("role", "usage", "source", "through", "grantor", "granted")),
        ("usage", ("relation", "column", "need")),
    ):
        if row[title]:
            typer.echo()
            print_table("", headings, [[each[name] for name in headings] for each in row[title]])


def _call(dsn: str, database: str | None, statement: str, *values: Any) -> "Rows":
    from .connection import open_database

    with report_failures(), open_database(dsn, database) as opened:
        return [dict(row) for row in opened.query(statement, *values)]


_NAMED = """
    SELECT v.id, v.name, v.uuid::text AS uuid, v.state = 'enabled' AS is_enabled
    FROM {s}.key_versions AS v
    WHERE
        v.name = %s
        AND CASE WHEN %s THEN v.destroy_after IS NOT NULL ELSE v.is_current AND v.state <> 'destroyed' END
    ORDER BY v.id
"""


def _found(dsn: str, database: str | None, key: str, *, is_scheduled: bool = False) -> dict[str, Any] | None:
    """Return the id, the name and the UUID of the version that a name or an id means, or None.

    Args:
        dsn: a connection string, or "".
        database: the name of the database, or None.
        key: a name, or the id of a version. A name has precedence.
        is_scheduled: whether a name means the version whose destruction is scheduled. Otherwise it means the
            current version; a disabled key can have the same name as an enabled one, which has precedence.

    Raises:
        typer.Exit: the name means several versions, which has been reported.
    """
    named = _call(dsn, database, _NAMED, key, is_scheduled)
    meant = [row for row in named if row["is_enabled"]] or named
    if len(meant) > 1:
        ids = ", ".join(str(row["id"]) for row in meant)
        report(f'key name "{escape(key)}" means several versions', f"Name one of them by its id: {ids}.")
        raise typer.Exit(FAILED)
    with_id = "SELECT v.id, v.name, v.uuid::text AS uuid FROM {s}.key_versions AS v WHERE v.id::text = %s"
    found = meant or _call(dsn, database, with_id, key)
    return found[0] if found else None


def _id_of(dsn: str, database: str | None, key: str) -> dict[str, Any]:
    """Return the id, the name and the UUID of the version that a name or an id means.

    Raises:
        typer.Exit: there is no such version, or there are several, which has been reported.
    """
    found = _found(dsn, database, key)
    if found is None:
        report(f'key "{escape(key)}" does not exist', "pgkeymgr keys list --all lists the keys.")
        raise typer.Exit(FAILED)
    return found


@app.command(cls=Command, epilog=EPILOG)
@connects
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new key.")],
    dsn: Dsn = "",
    database: OneDatabase = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time at which the key expires, in a format of SQL.")
    ] = None,
    comment: Annotated[str | None, typer.Option(metavar="TEXT", help="A comment on the key.")] = None,
) -> None:
    """Make a data key of 32 random bytes under the root key, owned by the user who connects."""
    (made,) = _call(
        dsn,
        database,
        "SELECT {s}.create_data_key(%s, expires => %s::timestamptz, comment => %s) AS id",
        name,
        expires,
        comment,
    )
    typer.echo(f"Data key {escape(name)} is key {made['id']}.")


@app.command(cls=Command, epilog=EPILOG)
@connects
def grant(key: _Key, role: _Role, dsn: Dsn = "", database: OneDatabase = None, usage: _Usage = None) -> None:
    """Let a role use a key and all its later versions: to encrypt and decrypt, unless --usage says otherwise."""
    found = _id_of(dsn, database, key)
    _call(
        dsn,
        database,
        "SELECT {s}.grant_data_key(%s::integer, quote_ident(%s)::regrole, %s::text[])",
        found["id"],
        role,
        usage or ["encrypt", "decrypt"],
    )
    message(f"{escape(role)} may use the key {escape(found['name'] or found['id'])}.")


@app.command(cls=Command, epilog=EPILOG)
@connects
def revoke(key: _Key, role: _Role, dsn: Dsn = "", database: OneDatabase = None, usage: _Usage = None) -> None:
    """Revoke the grants of a role on a key: all of them, unless --usage names some."""
    found = _id_of(dsn, database, key)
    more = "" if usage is None else ", %s::text[]"
    _call(
        dsn,
        database,
        f"SELECT {{s}}.revoke_data_key(%s::integer, quote_ident(%s)::regrole{more})",
        found["id"],
        role,
        *([] if usage is None else [usage]),
    )
    what = "grants" if usage is None else f"grants to {', '.join(map(escape, usage))}"
    message(f"The {what} of {escape(role)} on the key {escape(found['name'] or found['id'])} are revoked.")


@app.command(cls=Command, epilog=EPILOG)
@connects
def disable(key: _Key, dsn: Dsn = "", database: OneDatabase = None) -> None:
    """Disable a version of a key: it neither encrypts nor decrypts until it is enabled again."""
    found = _id_of(dsn, database, key)
    _call(dsn, database, "SELECT {s}.disable_data_key(%s::integer)", found["id"])
    message(f"Key {found['id']} ({escape(found['name'])}) is disabled.")


@app.command(cls=Command, epilog=EPILOG)
@connects
def enable(key: _Key, dsn: Dsn = "", database: OneDatabase = None) -> None:
    """Enable a version of a key that was disabled."""
    found = _id_of(dsn, database, key)
    _call(dsn, database, "SELECT {s}.enable_data_key(%s::integer)", found["id"])
    message(f"Key {found['id']} ({escape(found['name'])}) is enabled.")


@app.command(cls=Command, epilog=EPILOG)
@connects
def destroy(
    key: _Key,
    dsn: Dsn = "",
    database: OneDatabase = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="INTERVAL",
            callback=checked_interval,
            help="The time until the version is destroyed, such as '30 days'. It is disabled at once.",
            show_default="at once",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Erase a version of a key: nothing can decrypt its data any more. It is refused while a column needs it.

    With --after, the version is disabled at once, and run_key_policies() erases it after that time. Until then,
    pgkeymgr keys cancel-destroy and pgkeymgr keys enable restore it.
    """
    found = _id_of(dsn, database, key)
    called = found["name"] or found["uuid"]
    shown = f"{found['id']} ({escape(called)})"
    with report_failures():
        if after is None:
            confirm(f"Destroy key {shown}? Its data cannot be decrypted any more.", yes)
        else:
            confirm(f"Disable key {shown} now, and destroy it in {escape(after)}?", yes)
    if after is None:
        _call(dsn, database, "SELECT {s}.destroy_data_key(%s::integer, %s)", found["id"], called)
        message(f"Key {shown} is destroyed.")
        return
    arguments = (found["id"], called, after)
    _call(dsn, database, "SELECT {s}.destroy_data_key(%s::integer, %s, after => %s::interval)", *arguments)
    due = "SELECT v.destroy_after AS time FROM {s}.key_versions AS v WHERE v.id = %s"
    (scheduled,) = _call(dsn, database, due, found["id"])
    message(
        f"Key {shown} is disabled, and run_key_policies() destroys it after {escape(scheduled['time'])}. Until "
        f"then, pgkeymgr keys cancel-destroy {found['id']} cancels this."
    )


@app.command("cancel-destroy", cls=Command, epilog=EPILOG)
@connects
def cancel_destroy(key: _Key, dsn: Dsn = "", database: OneDatabase = None) -> None:
    """Cancel the destruction of a version of a key that was scheduled. The version stays disabled.

    A name means the version of that name whose destruction is scheduled.
    """
    found = _found(dsn, database, key, is_scheduled=True) or _id_of(dsn, database, key)
    _call(dsn, database, "SELECT {s}.cancel_destroy(%s::integer)", found["id"])
    shown = f"{found['id']} ({escape(found['name'] or found['uuid'])})"
    message(
        f"The destruction of key {shown} is canceled. The key stays disabled: pgkeymgr keys enable {found['id']} "
        "enables it."
    )
