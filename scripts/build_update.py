"""Build an update script of the extension from its install script and the steps that are particular to the update.

    python scripts/build_update.py --steps FILE --install FILE --output FILE

The steps are a file of sql/updates/. It has these lines:

``@begin@``
    becomes the text of sql/updates/begin.sql.in, which moves the tables of the old version out of the way.
``@install@``
    becomes the statements of the install script, in their order. A statement that creates a type, a function or
    a view becomes a call of a function of begin.sql.in, since the old version may have the object. Event triggers
    are left out.
``@end@``
    becomes the text of sql/updates/end.sql.in, which drops what the new version does not have, with the list of
    the new version's functions for ``@members@``. The event triggers follow: they must not fire before.

Between ``@install@`` and ``@end@``, the steps copy the rows of the old tables. So only a change of a table can
need a change of the steps.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

from build_sql import SourceError, check_ascii, routines

_UPDATES = Path(__file__).resolve().parents[1] / "sql" / "updates"
BEGIN = _UPDATES / "begin.sql.in"
END = _UPDATES / "end.sql.in"

# A semicolon in a comment, a string, a quoted name or a dollar-quoted body does not end a statement.
_TOKEN = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<dollar>\$\w*\$).*?(?P=dollar)|;|[^;'\"$-]+|.", re.DOTALL
)
_PSQL = re.compile(r"^\\.*\n", re.MULTILINE)
_HEAD = re.compile(
    r"CREATE (?:OR REPLACE )?(?P<kind>FUNCTION|PROCEDURE|AGGREGATE|TYPE|VIEW|EVENT TRIGGER)\s+"
    r"(?:@extschema@\.)?(?P<name>\w+)"
)
_ENUM = re.compile(r"CREATE TYPE @extschema@\.(?P<name>\w+) AS ENUM \((?P<labels>[^()]*)\);")
_QUOTE = "$statement$"


class Statement(NamedTuple):
    """A statement of an install script.

    Attributes:
        text: the statement with its semicolon, without the comments above it.
        kind: of the object that it creates and that an older version may have, such as ``VIEW``; else "".
        name: of that object, without its schema; else "".
    """

    text: str
    kind: str
    name: str


def statements(script: str) -> list[Statement]:
    """Return the statements of an install script, in their order.

    Raises:
        SourceError: the last one has no end.
    """
    found, text = [], ""
    for token in _TOKEN.finditer(_PSQL.sub("", script)):
        if not text.strip() and token[0].startswith("--"):
            continue
        text += token[0]
        if token[0] == ";":
            text = text.strip()
            head = _HEAD.match(text)
            found.append(Statement(text, head["kind"] if head else "", head["name"] if head else ""))
            text = ""
    if text.strip():
        raise SourceError(f"the last statement has no end: {text.strip()[:80]}")
    return found


def _call(function: str, *arguments: str) -> str:
    return f"SELECT pg_pgkeymgr_update.{function}({', '.join(arguments)});"


def _literal(text: str) -> str:
    if _QUOTE in text:
        raise SourceError(f"a statement contains {_QUOTE}")
    return f"{_QUOTE}{text}{_QUOTE}"


def update_statement(statement: Statement) -> str:
    """Return the statement that does in an update what the given one does in an installation."""
    text, kind = statement.text, statement.kind
    if kind == "TYPE":
        enum = _ENUM.fullmatch(text)
        labels = f"ARRAY[{' '.join(enum['labels'].split())}]" if enum else "'{}'"
        return _call("create_type", f"'{statement.name}'", f"{labels}::pg_catalog.text[]", _literal(text))
    if kind == "VIEW":
        replacing = re.sub(r"^CREATE VIEW", "CREATE OR REPLACE VIEW", text)
        return _call("replace_view", f"'{statement.name}'", _literal(replacing))
    if kind in {"FUNCTION", "PROCEDURE", "AGGREGATE"}:
        (routine,) = routines(f"-- An object.\n-- EXECUTE: nobody\n{text}\n")
        replacing = re.sub(r"^CREATE (?:OR REPLACE )?", "CREATE OR REPLACE ", text)
        signature = routine.signature.replace("'", "''")
        return _call("replace_routine", f"'{signature}'", _literal(replacing))
    return text


def build(steps: str, install: str) -> str:
    """Return the text of an update script.

    Args:
        steps: the text of the file of steps.
        install: the text of the install script of the new version.

    Raises:
        SourceError: one of them cannot be read.
    """
    all_statements = statements(install)
    late = [each.text for each in all_statements if _is_about_event_triggers(each.text)]
    others = [each for each in all_statements if not _is_about_event_triggers(each.text)]
    members = [
        routine.signature
        for each in others
        if each.kind in {"FUNCTION", "PROCEDURE", "AGGREGATE"}
        for routine in routines(f"-- An object.\n-- EXECUTE: nobody\n{each.text}\n")
    ]
    listed = ",\n".join("    '" + each.replace("'", "''") + "'" for each in members) + "\n"
    parts = {
        "@begin@": BEGIN.read_text(encoding="utf-8"),
        "@install@": "\n".join(update_statement(each) for each in others) + "\n",
        "@end@": END.read_text(encoding="utf-8").replace("@members@\n", listed) + "\n".join(late) + "\n",
    }
    script = steps
    for line, text in parts.items():
        if script.count(f"\n{line}\n") != 1:
            raise SourceError(f"the steps must have one line {line}")
        script = script.replace(f"\n{line}\n", f"\n{text}")
    return script


def _is_about_event_triggers(statement: str) -> bool:
    return re.match(r"(?:CREATE|COMMENT ON|ALTER) EVENT TRIGGER\b", statement) is not None


def main() -> int:
    """Build the script that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build an update script of the extension.")
    parser.add_argument("--steps", required=True, type=Path)
    parser.add_argument("--install", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        steps = arguments.steps.read_text(encoding="utf-8")
        check_ascii(str(arguments.steps), steps)
        script = build(steps, arguments.install.read_text(encoding="ascii"))
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    # Renamed at the end, so that a build that was interrupted leaves no half script.
    new = arguments.output.with_name(arguments.output.name + ".new")
    new.write_text(script, encoding="ascii")
    new.replace(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
