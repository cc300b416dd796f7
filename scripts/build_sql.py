"""Build the install script of the extension from its sources in sql/.

    python scripts/build_sql.py --libdir DIRECTORY --version VERSION --output FILE SOURCE...

The sources are put one after the other. A line ``@load@`` becomes the text of sql/load.py.in, ``@libdir@`` and
``@version@`` become what the arguments say, and a line ``@privileges@`` becomes one row for each privilege that
the GRANT statements of the sources give. So each privilege is written once, beside its object.
"""

import argparse
import re
import sys
from pathlib import Path

LOADER = Path(__file__).resolve().parents[1] / "sql" / "load.py.in"

# A GRANT in a DO block or in a function is indented; it is about a role or a schema.
_STATEMENT = re.compile(r"^GRANT\b[^;]*;", re.MULTILINE)
_GRANT = re.compile(
    r"GRANT (?P<privileges>[A-Z]+(?:, [A-Z]+)*) ON (?:(?P<kind>FUNCTION|PROCEDURE|TYPE|TABLE|SEQUENCE) )?"
    r"@extschema@\.(?P<object>\w+(?:\([^()]*\))?) TO (?P<grantee>\w+);"
)
_PRIVILEGES = {
    "FUNCTION": {"EXECUTE"},
    "PROCEDURE": {"EXECUTE"},
    "TYPE": {"USAGE"},
    "TABLE": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "SEQUENCE": {"SELECT", "USAGE"},
}


class SourceError(Exception):
    """A source cannot be part of the install script."""


def collect_privileges(source: str) -> list[tuple[str, str, str, str]]:
    """Return what the GRANT statements of a source give.

    Args:
        source: its text.

    Returns:
        Kind, object, privilege and grantee of each privilege, in their order. The object is a format string whose
        first argument is the schema of the extension.

    Raises:
        SourceError: a GRANT statement has a form that this function does not know.
    """
    found = []
    for statement in _STATEMENT.findall(source):
        text = " ".join(statement.split()).replace("( ", "(").replace(" )", ")")
        match = _GRANT.fullmatch(text)
        if match is None:
            raise SourceError(f"cannot read the statement: {text}")
        kind = match["kind"] or "TABLE"
        object_ = f"%1$s.{match['object'].replace('@extschema@', '%1$s')}"
        for privilege in match["privileges"].split(", "):
            if privilege not in _PRIVILEGES[kind]:
                raise SourceError(f"there is no privilege {privilege} on a {kind.lower()}: {text}")
            found.append((kind, object_, privilege, match["grantee"]))
    return found


def check_ascii(name: str, text: str) -> None:
    """Refuse characters that a database in another encoding than UTF-8 may not have.

    Raises:
        SourceError: there is one.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.isascii():
            raise SourceError(f"{name}:{number}: a character that is not ASCII")


def build(sources: list[Path], libdir: str, version: str) -> str:
    """Return the text of the install script.

    Args:
        sources: in load order.
        libdir: the directory that Python packages are installed below.
        version: of the extension.

    Raises:
        SourceError: a source cannot be part of it.
    """
    texts = {source: source.read_text(encoding="utf-8") for source in [*sources, LOADER]}
    for source, text in texts.items():
        check_ascii(str(source), text)
    loader = texts.pop(LOADER)
    rows = [row for text in texts.values() for row in collect_privileges(text)]
    privileges = ",\n".join(f"    ({', '.join(map(_quote, row))})" for row in rows) + "\n"
    script = "\n".join(texts.values())
    for line, expansion in (("@load@", loader), ("@privileges@", privileges)):
        script = script.replace(f"\n{line}\n", f"\n{expansion}")
    # By schema: after DROP EXTENSION, a session may create the extension in another one.
    script = script.replace("GD['pgkeymgr']", "GD['pgkeymgr.@extschema@']")
    # In a string of Python, where any character can be written in ASCII.
    return script.replace("@libdir@", ascii(libdir)[1:-1]).replace("@version@", version)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    """Build the script that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the install script of the extension.")
    parser.add_argument("--libdir", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    try:
        script = build(arguments.sources, arguments.libdir, arguments.version)
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
