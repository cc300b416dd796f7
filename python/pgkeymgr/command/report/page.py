"""Writes the state of a cluster as one HTML page, which loads nothing and runs no script."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ... import __version__
from ..state import (
    AGES,
    STATES,
    STATUSES,
    ClusterState,
    Column,
    DatabaseState,
    Deadline,
    Grants,
    Key,
    Operation,
    Policy,
    SharedFinding,
    merge_findings,
)
from . import charts
from .markup import Child, Markup, document, join, style_sheet, tag
from .style import CSS

_EXPIRES_SOON = timedelta(days=30)
_YEAR_DAYS = 365
_EVENTS = {
    "keys made": ("create", "import", "supersede"),
    "access": ("grant", "revoke", "share", "unshare", "adopt_role"),
    "state": (
        "enable",
        "disable",
        "schedule_destroy",
        "cancel_destroy",
        "destroy",
        "drop",
        "move_expiry",
        "limit_encryption",
    ),
    "opened": ("unlock", "unlock_user_key", "export", "reveal"),
}
"""The series of the chart of events. All other events are in the last series."""
_OTHER = "other"


@dataclass(frozen=True)
class _Heading:
    """The heading of a column of a table, and the class of its cells."""

    name: str
    kind: str | None = None


def page(cluster: ClusterState) -> str:
    """Return the report.

    Args:
        cluster: the state of the cluster.

    Returns:
        The page. A policy in its head refuses scripts, requests, forms, and styles other than its own.
    """
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("meta", name="generator", content=f"pgkeymgr {__version__}"),
        # Without it, a browser asks the server of the page for an icon.
        tag("link", rel="icon", href="data:,"),
        tag("title", f"pgkeymgr report, {_time(cluster.taken)}"),
        style_sheet(CSS),
    )
    findings = merge_findings(cluster)
    body = tag(
        "body",
        _header(cluster, findings),
        tag(
            "main",
            _problems(cluster),
            *(_database(number, database, cluster) for number, database in enumerate(cluster.databases)),
            _doctor(findings, cluster),
        ),
        tag(
            "footer",
            tag(
                "p",
                "This page has names of keys, roles and columns, and no key and no value. It was made by "
                f"pgkeymgr {__version__}, loads nothing and runs no script. Numbers of rows are estimates of "
                "PostgreSQL, and all times are in UTC.",
            ),
        ),
    )
    return document(head, body)


# The parts of the page. A part without content is a sentence.


def _header(cluster: ClusterState, findings: Sequence[SharedFinding]) -> Markup:
    links = [
        *(tag("li", tag("a", each.name, href=f"#database-{n}")) for n, each in enumerate(cluster.databases)),
        tag("li", tag("a", "Doctor", href="#doctor")),
    ]
    server = f"PostgreSQL {cluster.server_version}, " if cluster.server_version else ""
    return tag(
        "header",
        tag("h1", "Keys and encrypted columns"),
        tag("p", f"{server}{_time(cluster.taken)}", class_="soft"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        _tiles(cluster, findings),
    )


def _tiles(cluster: ClusterState, findings: Sequence[SharedFinding]) -> Markup:
    databases = cluster.databases
    without = [each for each in databases if each.root_key_error is not None or "root key" in each.problems]
    columns = [column for each in databases for column in each.columns]
    encrypted = sum(column.state in ("encrypted", "rotating") for column in columns)
    operations = [operation for each in databases for operation in each.operations]
    left = sum(operation.rows_left for operation in operations)
    # An old version may well expire. The current ones come first in the list.
    expired = sum(key.state == "expired" and not key.is_superseded for each in databases for key in each.keys)
    number = {status: sum(each.finding.status == status for each in findings) for status in STATUSES}
    worst = next((status for status in ("error", "warning") if number[status]), "ok")
    return tag(
        "dl",
        _tile(
            "Root key",
            "missing" if without else "loaded",
            f"in {len(without)} of {len(databases)} databases" if without else _plural(len(databases), "database"),
            "error" if without else "ok",
        ),
        _tile(
            "Current keys",
            f"{sum(each.count('current') for each in databases):,}",
            f"{expired:,} expired" if expired else "none has expired",
            "error" if expired else "ok",
        ),
        _tile(
            "Encrypted columns",
            f"{encrypted:,} of {len(columns):,}",
            "columns with all values encrypted",
            "ok" if encrypted == len(columns) else "warning",
        ),
        _tile(
            "Operations",
            f"{len(operations):,}",
            f"{left:,} rows left" if operations else "none is unfinished",
            "warning" if operations else "ok",
        ),
        _tile(
            "Doctor",
            f"{number['error'] + number['warning']:,}",
            f"{_plural(number['error'], 'error')}, {_plural(number['warning'], 'warning')}",
            worst,
        ),
        class_="tiles",
    )


def _tile(name: str, value: str, note: str, kind: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value, tag("span", note, class_="note")), class_=f"tile {kind}")


def _problems(cluster: ClusterState) -> Markup | None:
    problems = cluster.all_problems()
    if not problems:
        return None
    return tag(
        "section",
        tag("h2", "Not examined"),
        tag("div", tag("ul", *(tag("li", problem) for problem in problems)), class_="card problem"),
    )


def _database(number: int, database: DatabaseState, cluster: ClusterState) -> Markup:
    identifier, now = f"database-{number}", cluster.taken

    def examined(name: str, found: object, nothing: str, draw: Callable[[], Markup]) -> Markup | str:
        if name in database.problems:
            return tag("p", _pill("error", "not examined"), " ", database.problems[name])
        return draw() if found else nothing

    parts: dict[str, Markup | str] = {
        "Root key": _root_key(database),
        "Keys": examined("keys", database.counts, "There is no key.", lambda: _keys(database, now)),
        "Dates of keys": examined(
            "dates of keys",
            database.deadlines,
            "No key has a date at which it stops encrypting or is destroyed.",
            lambda: _deadlines(database, now),
        ),
        "Policies of keys": examined(
            "policies", database.policies, "No key has a policy.", lambda: _policies(database, now)
        ),
        "Encrypted columns": examined(
            "columns", database.columns, "No column is encrypted.", lambda: _columns(database)
        ),
        "Masks": _masks(database),
        "Unfinished operations": examined(
            "operations",
            database.operations,
            "No migration, rotation or decryption is unfinished.",
            lambda: _operations(database, now),
        ),
        "Events": examined(
            "events",
            database.events,
            "The audit trail has no event of the last year.",
            lambda: _events(database, now.date(), identifier),
        ),
        "Grants": examined("grants", database.grants, "No role can use a key.", lambda: _grants(database)),
    }
    nothing = " ".join(part for part in parts.values() if part and not isinstance(part, Markup))
    return tag(
        "section",
        tag("h2", f"Database {database.name}", id=identifier),
        *(_card(title, part) for title, part in parts.items() if isinstance(part, Markup)),
        tag("p", nothing, class_="soft") if nothing else None,
    )


def _card(title: str, *children: Child) -> Markup:
    return tag("div", tag("h3", title), *children, class_="card")


def _root_key(database: DatabaseState) -> Markup:
    error = database.root_key_error or database.problems.get("root key")
    found = database.root_key
    facts: list[tuple[str, Child]] = []
    if error is not None:
        facts.append(("Problem", join(_pill("error"), " ", error)))
    if found is not None:
        facts += [("Fingerprint", tag("code", found.fingerprint)), ("Source", found.source)]
        facts += [("Previous", tag("code", each)) for each in found.previous]
        facts += [("Still needed", tag("code", each)) for each in found.still_needed if each != found.fingerprint]
    if "events" not in database.problems:
        rotated = database.last_root_rotation
        facts.append(("Last rotation", "never" if rotated is None else _time(rotated)))
    facts.append(("Extension", f"pgkeymgr {database.version}"))
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def _keys(database: DatabaseState, now: datetime) -> Markup:
    ages = [name for name, _ in AGES]
    used = [state for state in STATES if database.count(state)]
    largest = max(database.count(state) for state in used)
    rows = []
    for state in used:
        values = {age: database.counts.get((state, age), 0) for age in ages}
        drawn = charts.bar(values, largest, f"Ages of keys that are {state}")
        rows.append(
            [_pill(state), drawn, *(f"{value:,}" for value in values.values()), f"{database.count(state):,}"]
        )
    by_age = _table(
        "Versions of keys by state and age",
        [_Heading("State"), _Heading("Age", "wide"), *(_Heading(age, "number") for age in ages),
         _Heading("All", "number")],
        rows,
    )  # fmt: skip
    listed = _table(
        "Keys, the current ones first",
        [_Heading("Key"), _Heading("State"), _Heading("Age", "number"), _Heading("Created", "time"),
         _Heading("Expires", "time"), _Heading("Owner"), _Heading("Opens with"), _Heading("Needed by", "broad")],
        [_key(key, now) for key in database.keys],
    )  # fmt: skip
    more = database.keys_left_out
    return join(
        charts.legend(ages),
        by_age,
        listed,
        tag("p", f"The table leaves out {_plural(more, 'version')} of keys.", class_="soft") if more else None,
    )


def _key(key: Key, now: datetime) -> list[Child]:
    expires: Child = None
    if key.expires is not None:
        is_soon = key.state == "current" and key.expires - now < _EXPIRES_SOON
        expires = join(_day(key.expires), " ", _pill("warning", "soon") if is_soon else None)
    return [
        key.label,
        _pill(key.state),
        _age(now - key.created),
        _day(key.created),
        expires,
        "a dropped role" if key.owner is None else key.owner,
        ", ".join(key.wraps) or "nothing",
        ", ".join(key.columns),
    ]


def _deadlines(database: DatabaseState, now: datetime) -> Markup:
    return _table(
        "Versions of keys that stop encrypting, or are to be destroyed",
        [_Heading("Key", "broad"), _Heading("Version", "number"), _Heading("Change", "broad"),
         _Heading("Date", "time"), _Heading("In", "number")],
        [_deadline(each, now) for each in database.deadlines],
    )  # fmt: skip


def _deadline(deadline: Deadline, now: datetime) -> list[Child]:
    is_past = deadline.time <= now
    if deadline.is_destruction:
        # run_key_policies() destroys it, and has not run since.
        change = _pill("error", "destruction is due") if is_past else _pill("warning", "is destroyed")
    else:
        change = _pill("notice", "stopped encrypting" if is_past else "stops encrypting")
    return [
        f"key {deadline.id}" if deadline.name is None else deadline.name,
        f"{deadline.id}",
        change,
        _day(deadline.time),
        f"{_age(now - deadline.time)} ago" if is_past else _age(deadline.time - now),
    ]


def _policies(database: DatabaseState, now: datetime) -> Markup:
    return _table(
        "Policies, which run_key_policies() carries out",
        [_Heading("Key"), _Heading("Rotated every"), _Heading("Next rotation", "broad"),
         _Heading("Versions kept", "number"), _Heading("Others destroyed after"), _Heading("Last run", "broad")],
        [_policy(each, now) for each in database.policies],
    )  # fmt: skip


def _policy(policy: Policy, now: datetime) -> list[Child]:
    due: Child = None
    if policy.is_rotating:
        due = _pill("rotating")
    elif policy.next_rotation is not None:
        is_due = policy.next_rotation <= now
        due = join(_day(policy.next_rotation), " ", _pill("warning", "due") if is_due else None)
    ran: Child = "never"
    if policy.last_run is not None:
        ran = join(f"{_age(now - policy.last_run)} ago ", _pill("error", "failed") if policy.has_failed else None)
    return [
        "a key without a name" if policy.name is None else policy.name,
        policy.rotate_every,
        due,
        "all" if policy.keep_versions is None else f"{policy.keep_versions:,}",
        None if policy.keep_versions is None else policy.destroy_after,
        ran,
    ]


def _masks(database: DatabaseState) -> Markup | str:
    masked = [each for each in database.columns if each.mask is not None]
    if not masked:
        # Where the columns could not be read, the other part says so.
        return "" if "columns" in database.problems else "No column has a mask."
    return _table(
        "Roles that may not decrypt read a mask of these columns",
        [_Heading("Column"), _Heading("Mask", "broad"), _Heading("Read by", "broad")],
        [
            [
                f"{each.relation}.{each.name}",
                each.mask,
                "roles with the usage masked" + (", and without any grant" if each.mask_without_grant else ""),
            ]
            for each in masked
        ],
    )


def _columns(database: DatabaseState) -> Markup:
    operations = {(each.relation, each.column): each for each in database.operations}
    return _table(
        None,
        [_Heading("Column"), _Heading("State"), _Heading("Encrypted"), _Heading("Rows", "number"),
         _Heading("Left", "number"), _Heading("Type"), _Heading("Mode", "word"), _Heading("Blind index"),
         _Heading("Key")],
        [_column(each, operations.get((each.relation, each.name))) for each in database.columns],
    )  # fmt: skip


def _column(column: Column, operation: Operation | None) -> list[Child]:
    done, total = _coverage(column, operation)
    name = f"{column.relation}.{column.name}"
    key = column.key if column.key_by is None else f"{column.key}, by {column.key_by}"
    return [
        name,
        _pill(column.state),
        "unknown" if total is None else charts.meter(done, total, f"Encrypted values of {name}"),
        "unknown" if column.rows is None else f"{column.rows:,}",
        None if total is None else f"{total - done:,}",
        column.data_type,
        column.mode,
        "none" if column.blind_index is None else column.blind_index,
        key,
    ]


def _coverage(column: Column, operation: Operation | None) -> tuple[int, int | None]:
    """Return the numbers of encrypted rows and of all rows. The latter is None if it is not known."""
    if column.state in ("encrypted", "rotating"):
        return (column.rows or 0), (column.rows or 0)
    if operation is None:
        # The procedure was never called.
        return (0, column.rows) if column.state == "migrating" else (column.rows or 0, column.rows)
    done = operation.rows_total - operation.rows_left
    return (done if column.state == "migrating" else operation.rows_left), operation.rows_total


def _operations(database: DatabaseState, now: datetime) -> Markup:
    return _table(
        None,
        [_Heading("Column"), _Heading("Operation"), _Heading("Done"), _Heading("Rows done", "number"),
         _Heading("Rows left", "number"), _Heading("Partitions", "number"), _Heading("Started", "time"),
         _Heading("Remaining time", "number")],
        [
            [
                f"{each.relation}.{each.column}",
                each.name,
                charts.meter(each.rows_done, each.rows_total, f"Rows of {each.relation}.{each.column}"),
                f"{each.rows_done:,}",
                f"{each.rows_left:,}",
                f"{each.partitions_done} of {each.partitions_total}" if each.partitions_total else None,
                f"{_age(now - each.started)} ago",
                None if each.eta is None else _age(each.eta),
            ]
            for each in database.operations
        ],
    )  # fmt: skip


def _events(database: DatabaseState, today: date, identifier: str) -> Markup:
    series = [*_EVENTS, _OTHER]
    of_event = {event: name for name, events in _EVENTS.items() for event in events}
    days: dict[tuple[date, str], int] = {}
    totals: dict[str, int] = {}
    for (day, event), count in database.events.items():
        name = of_event.get(event, _OTHER)
        days[day, name] = days.get((day, name), 0) + count
        totals[event] = totals.get(event, 0) + count
    last = max(today, *(day for day, _ in days)) if days else today
    rows = [[event, of_event.get(event, _OTHER), f"{count:,}"] for event, count in sorted(totals.items())]
    total = database.events_total or 0
    return join(
        tag("p", f"The audit trail has {_plural(total, 'event')}. The chart shows the last year.", class_="soft"),
        charts.over_time(days, series, last, f"{identifier}-events", "Events"),
        tag(
            "details",
            tag("summary", "Numbers of events"),
            _table(
                "Events of the last year",
                [_Heading("Event"), _Heading("Shown as"), _Heading("Number", "number")],
                rows,
            ),
        ),
    )


def _grants(database: DatabaseState) -> Markup:
    return _table(
        "Roles that can use keys",
        [_Heading("Role"), _Heading("Can log in"), _Heading("Usage"), _Heading("By", "broad"),
         _Heading("Number", "number"), _Heading("Keys", "wide")],
        [_grant(each) for each in database.grants],
    )  # fmt: skip


def _grant(grants: Grants) -> list[Child]:
    more = grants.count - len(grants.keys)
    return [
        grants.role,
        "yes" if grants.can_login else "no",
        ", ".join(grants.usage),
        grants.source if grants.through is None else f"{grants.source} ({grants.through})",
        f"{grants.count:,}",
        ", ".join(grants.keys) + (f" and {more:,} more" if more else ""),
    ]


def _doctor(findings: Sequence[SharedFinding], cluster: ClusterState) -> Markup:
    rows = [
        [
            _pill(each.finding.status),
            each.finding.check,
            None if each.finding.object is None else tag("code", each.finding.object),
            join(
                each.finding.message, tag("span", each.finding.hint, class_="hint") if each.finding.hint else None
            ),
            "all" if len(each.databases) == len(cluster.databases) > 1 else ", ".join(each.databases),
        ]
        for each in findings
        if each.finding.status != "ok"
    ]
    fine = len({each.finding.check for each in findings if each.finding.status == "ok"})
    headings = [_Heading("Status"), _Heading("Check", "broad"), _Heading("Object"), _Heading("Finding", "wide"),
                _Heading("Where")]  # fmt: skip
    return tag(
        "section",
        tag("h2", "Doctor", id="doctor"),
        tag(
            "div",
            _table(None, headings, rows) if rows else tag("p", "The doctor found nothing."),
            tag("p", f"{_plural(fine, 'check')} found nothing.", class_="soft") if rows and fine else None,
            class_="card",
        ),
    )


# Tables, texts and times.


def _table(caption: str | None, headings: Sequence[_Heading], rows: Iterable[Sequence[Child]]) -> Markup:
    """Return a table whose first column has the names of the rows. A narrow screen shows each row as a list.

    The roles are those that the elements have anyway. Browsers forget them where the style changes the display.
    """
    head = tag(
        "thead",
        tag(
            "tr",
            *(tag("th", each.name, scope="col", class_=each.kind, role="columnheader") for each in headings),
            role="row",
        ),
        role="rowgroup",
    )
    body = tag("tbody", *(_row(headings, row) for row in rows), role="rowgroup")
    named = None if caption is None else tag("caption", caption)
    return tag("table", named, head, body, class_="stacked", role="table")


def _row(headings: Sequence[_Heading], row: Sequence[Child]) -> Markup:
    first, *others = row
    cells = [tag("th", first, scope="row", role="rowheader")]
    for heading, cell in zip(headings[1:], others, strict=True):
        kind = " ".join(filter(None, [heading.kind, "empty" if cell in (None, "") else None])) or None
        cells.append(tag("td", tag("span", cell), class_=kind, role="cell", data_label=heading.name))
    return tag("tr", *cells, role="row")


def _pill(kind: str, name: str | None = None) -> Markup:
    return tag("span", name or kind, class_=f"pill {kind}")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d}"


def _age(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{seconds // length:,} {unit}"
    return f"{seconds} s"
