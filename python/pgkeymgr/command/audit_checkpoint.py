"""``pgkeymgr audit checkpoint``, and the checkpoints of ``audit verify``."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from ..errors import DataError, ParameterError
from .failure import FAILED, report, report_failures
from .listing import end
from .output import escape, message
from .target import AllDatabases, Databases, Dsn

if TYPE_CHECKING:
    from ..agent.checkpoint import Checkpoint, PublicKeys

EPILOG = "Exit status: 0, success; 1, failure, or a fault was found; 2, wrong usage."

_START = bytes(32)
_KEYS_BYTES_MAX = 1 << 20
_KEYS_HINT = "Name a file with the output of pgkeymgr agent audit-keys."
_CHECKPOINTS_HINT = "Name the agent's file of checkpoints, or a copy of it."
_EXPORT_HINT = "Name a file with the output of pgkeymgr audit export, with all events."


def checkpoint(dsn: Dsn = "", database: Databases = None, all_databases: AllDatabases = False) -> None:
    """Have the agent sign a checkpoint of the audit trail of each database, and print the checkpoints.

    A checkpoint is a line of JSON. The agent appends it to its file of checkpoints, too.
    """
    from .connection import each_database, noted

    del all_databases  # The option only names the default.
    problems: dict[str, str] = {}
    with report_failures():
        for each in each_database(dsn, database, problems):
            with noted(each.name, problems):
                (row,) = each.query("SELECT {s}.checkpoint_key_events() AS line")
                typer.echo(row["line"])
    end(problems)


def verify_checkpoints(
    checkpoints: Path, keys: Path, export: Path | None, dsn: str, database: list[str] | None
) -> None:
    """Check that the audit trail matches the checkpoints: that no event was removed, changed or inserted.

    The hashes are computed here, and not by the server. With an export, no server is needed.

    Args:
        checkpoints: the file of checkpoints; - is the standard input.
        keys: the file of public keys.
        export: the export of a trail, or None for the trails of databases.
        dsn: a connection string, or "".
        database: the names of the databases; None for all databases that have the extension.

    Raises:
        typer.Exit: there is a fault, which has been reported.
    """
    with report_failures():
        from ..agent.checkpoint import verify_lines
        from .connection import noted

        if export is not None and (dsn or database):
            raise ParameterError("--export excludes --dsn and --database")
        pinned = _public_keys(keys)
        with _reading(checkpoints, _CHECKPOINTS_HINT) as file:
            good, line_faults = verify_lines(file, pinned)
        if not (good or line_faults):
            raise DataError(f"{_name_of(checkpoints)} has no checkpoint", hint=_CHECKPOINTS_HINT)
        faults = [f"{_name_of(checkpoints)}: {fault}" for fault in line_faults]
        checked = 0
        found: set[tuple[str, str]] = set()
        problems: dict[str, str] = {}
        for name, origin, events in _trails(export, dsn, database, problems):
            found.add(origin)
            mine = [each for each in good if (each.system, each.database) == origin]
            if not mine:
                faults.append(f"{name}: there is no checkpoint of it")
            with noted(name, problems):
                faults += [f"{name}: {fault}" for fault in _compare(mine, events)]
                checked += len(mine)
        faults += [f"{name}: {problem}" for name, problem in problems.items()]
        if export is None and database is None:
            faults += _missing(good, found)
    for fault in faults:
        report(escape(fault))
    if faults:
        raise typer.Exit(FAILED)
    message(f"{checked} checkpoints verified.")


def _name_of(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


@contextmanager
def _reading(path: Path, hint: str) -> Iterator[BinaryIO]:
    """Open a file. The errors inside name the file, and say which file is wanted.

    Raises:
        ParameterError: the file cannot be read.
        DataError: the file is malformed.
    """
    try:
        if str(path) == "-":
            yield typer.get_binary_stream("stdin")
        else:
            with path.open("rb") as file:
                yield file
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ParameterError(f"could not read {_name_of(path)}: {reason}", hint=hint) from None
    except DataError as error:
        raise DataError(f"{_name_of(path)}: {error.message}", hint=error.hint or hint) from None


def _public_keys(path: Path) -> "PublicKeys":
    from ..agent.checkpoint import read_public_keys

    with _reading(path, _KEYS_HINT) as file:
        # Some files, such as devices, do not end.
        content = file.read(_KEYS_BYTES_MAX + 1)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise DataError("the file is not UTF-8 text") from None
        if len(content) > _KEYS_BYTES_MAX:
            raise DataError(f"the file has more than {_KEYS_BYTES_MAX} bytes")
        return read_public_keys(text)


_Trail = tuple[str, tuple[str, str], Iterable[dict[str, Any]]]


def _trails(export: Path | None, dsn: str, names: list[str] | None, problems: dict[str, str]) -> Iterator[_Trail]:
    """Yield the name, the source and the events of each trail, with the events as an export has them."""
    if export is not None:
        with _reading(export, _EXPORT_HINT) as file:
            events = [_exported(number, line) for number, line in enumerate(file, 1)]
        if not events:
            raise DataError(f"the export {export} has no event", hint=_EXPORT_HINT)
        sources = {(event["system"], event["database"]) for event in events}
        if len(sources) > 1:
            raise DataError(f"the export {export} has events of several databases")
        yield str(export), sources.pop(), events
        return
    from .audit_export import events as events_of
    from .audit_export import source
    from .connection import each_database, noted

    for each in each_database(dsn, names, problems):
        origin = None
        with noted(each.name, problems):
            origin = source(each)
        if origin is not None:
            yield f'database "{each.name}"', (origin["system"], origin["database"]), events_of(each, 0)


_EXPORTED = {
    "link": int,
    "id": str,
    "at": str,
    "event": str,
    "key_id": int | None,
    "key_name": str | None,
    "role": str,
    "session_role": str,
    "client": str,
    "detail": str | None,
    "hash": str,
    "system": str,
    "database": str,
}


def _exported(number: int, line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
        if event.keys() != _EXPORTED.keys():
            raise ValueError
        if not all(isinstance(event[name], kind) for name, kind in _EXPORTED.items()):
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise DataError(f"line {number} of the export is not an event of audit export --format jsonl") from None
    event["at"] = event["at"].removesuffix("Z")
    return event


def _compare(checkpoints: list["Checkpoint"], events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a phrase for each fault of a trail: in its chain, and against the checkpoints."""
    from ..key.audit import event_hash

    known: dict[int, set[str]] = {}
    for each in checkpoints:
        known.setdefault(each.link, set()).add(each.hash)
    link, previous = 0, _START
    for event in events:
        link += 1
        if event["link"] != link:
            yield f"event {link} is missing"
            return
        fields = {name: None if value is None else str(value) for name, value in event.items()}
        previous = event_hash(previous, fields)
        if previous.hex() != event["hash"]:
            yield f"event {link} was changed"
            return
        if known.get(link, {event["hash"]}) != {event["hash"]}:
            yield f"event {link} is not the one of the checkpoint: the trail was written again"
            return
    last = max(known, default=0)
    if last > link:
        yield f"the trail ends at event {link}, before event {last} of a checkpoint: it was cut"


def _missing(checkpoints: list["Checkpoint"], found: set[tuple[str, str]]) -> Iterator[str]:
    """Yield a phrase for each database that has checkpoints, and is not among all databases of its cluster."""
    systems = {system for system, _ in found}
    there = {(each.system, each.database) for each in checkpoints if each.system in systems}
    for _, name in sorted(there - found):
        yield f'database "{name}" has checkpoints, and does not exist any more or has lost the extension'
