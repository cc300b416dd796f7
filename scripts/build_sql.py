"""Build the install script of the extension from its sources in sql/.

    python scripts/build_sql.py --libdir DIRECTORY --version VERSION --output FILE [--build-output FILE] SOURCE...

The sources are put one after the other. A line ``@load@`` and the call after it become the text of sql/load.py.in,
with the called name and the arguments for ``@name@`` and ``@arguments@``. A line ``@catalog_settings@`` becomes
the text of sql/catalog_settings.sql.in. The options of the command replace ``@libdir@`` and ``@version@``. A hash
of the script replaces ``@build@``: the Python package has it in the file of ``--build-output``, and compares. A
line ``@privileges@`` becomes one row for each privilege that the GRANT statements give, so that each privilege is
written once, beside its object.

The comment above each function, procedure and aggregate says what it does and who may call it::

    -- Return the key of a number, which is derived from the root key.
    --
    -- The function is STABLE, since the result is another one after a rotation.
    -- EXECUTE: pgkeymgr_admin
    CREATE FUNCTION @extschema@.derive_key(key_id bigint)

The first paragraph becomes the COMMENT. Any other paragraphs are for readers of the source alone. The last line
becomes REVOKE and GRANT: it lists roles, or PUBLIC, or says ``nobody`` if only the owner of the extension may call
the function.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

_SQL = Path(__file__).resolve().parents[1] / "sql"
LOADER = _SQL / "load.py.in"
CATALOG_SETTINGS = _SQL / "catalog_settings.sql.in"

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

_CREATE = re.compile(
    r"^CREATE (?:OR REPLACE )?(?P<kind>FUNCTION|PROCEDURE|AGGREGATE) @extschema@\.(?P<name>\w+)\(", re.MULTILINE
)
_DOCUMENTATION = re.compile(r"(?:^--.*\n)+\Z", re.MULTILINE)
_EXECUTE = re.compile(r"-- EXECUTE: (\w+(?:, \w+)*)\n")
_BODY = re.compile(r"\bAS (\$\w*\$).*?\1;\n", re.DOTALL)
_MODE = re.compile(r"(?:IN|OUT|INOUT|VARIADIC)\b\s*")
_DEFAULT = re.compile(r"\s*(?:\bDEFAULT\b|=).*", re.DOTALL)
_NOBODY = "nobody"
_BUILD = re.compile(r"'pgkeymgr\.([0-9a-f]+)\.@extschema@\.")
_HASH_DIGITS = 16
_LOAD = re.compile(r"^@load@\nreturn GD\['pgkeymgr'\]\.(?P<name>\w+)\((?P<arguments>.*)\)\n", re.MULTILINE)


class SourceError(Exception):
    """A source cannot be part of the install script."""


class Routine(NamedTuple):
    """A function, a procedure or an aggregate, as a source creates it.

    The signature is the name with the types of the input arguments, as in ``@extschema@.f(integer, text)``. The
    comment is one line of text, and the roles are those that may call the function. ``begin`` and ``end`` are the
    offsets of the statement in the source.
    """

    kind: str
    name: str
    signature: str
    comment: str
    roles: list[str]
    begin: int
    end: int


def routines(source: str) -> list[Routine]:
    """Return the functions, procedures and aggregates that a source creates, in their order.

    Raises:
        SourceError: a function has no comment, does not say who may call it, or cannot be read.
    """
    return [_routine(source, created) for created in _CREATE.finditer(source)]


def _routine(source: str, created: re.Match[str]) -> Routine:
    kind, name = created["kind"], created["name"]
    arguments, after = _arguments(source, created.end())
    types = [type_ for argument in arguments if (type_ := _input_type(name, argument)) is not None]
    signature = f"@extschema@.{name}({', '.join(types)})"
    if kind == "AGGREGATE":
        end = source.find(");\n", after) + len(");\n")
    else:
        body = _BODY.search(source, after)
        next_ = _CREATE.search(source, after)
        if body is None or (next_ is not None and body.start() > next_.start()):
            raise SourceError(f"cannot find the body of {name}: AS $$ ... $$;")
        end = body.end()
    comment, roles = _documentation(name, source[: created.start()])
    return Routine(kind, name, signature, comment, roles, created.start(), end)


def _arguments(source: str, start: int) -> tuple[list[str], int]:
    """Return the texts of the arguments whose list begins at an offset, and the offset after the list."""
    arguments, text, depth, is_quoted = [], "", 0, False
    for offset in range(start, len(source)):
        character = source[offset]
        if character == "'":
            is_quoted = not is_quoted
        depth += 0 if is_quoted else (character in "([") - (character in ")]")
        if depth < 0 or (character == "," and depth == 0 and not is_quoted):
            arguments.append(text.strip())
            text = ""
        else:
            text += character
        if depth < 0:
            return [each for each in arguments if each], offset + 1
    raise SourceError("a list of arguments has no end")


def _input_type(name: str, argument: str) -> str | None:
    """Return the type of an argument, or None for one that is only returned."""
    if re.match(r"OUT\b", argument):
        return None
    words = _DEFAULT.sub("", _MODE.sub("", argument, count=1), count=1).split()
    if len(words) not in {1, 2} or "--" in argument:
        raise SourceError(f"cannot read the argument of {name}: {argument} (write its type as one word)")
    return words[-1]


def _documentation(name: str, before: str) -> tuple[str, list[str]]:
    """Return the comment of a function and the roles that may call it, from the source before its statement."""
    found = _DOCUMENTATION.search(before)
    lines = found[0] if found else ""
    execute = _EXECUTE.search(lines)
    if execute is None:
        raise SourceError(
            f"{name} does not say who may call it: write -- EXECUTE: role, ... above it, or {_NOBODY}"
        )
    if execute.end() != len(lines):
        raise SourceError(f"-- EXECUTE is not the last line above {name}")
    paragraph = re.split(r"^--$", lines[: execute.start()], maxsplit=1, flags=re.MULTILINE)[0]
    comment = " ".join(line.removeprefix("--").strip() for line in paragraph.splitlines())
    if not comment:
        raise SourceError(f"{name} has no comment above it")
    return comment, [] if execute[1] == _NOBODY else execute[1].split(", ")


def expand_documentation(source: str) -> str:
    """Return a source with the statements REVOKE, GRANT and COMMENT below each function.

    Raises:
        SourceError: see routines; or a function has such a statement already.
    """
    pieces, done = [], 0
    for routine in routines(source):
        if re.search(rf"^(?:REVOKE|GRANT|COMMENT) .*{re.escape(routine.signature)}", source, re.MULTILINE):
            raise SourceError(f"{routine.name} has a statement of its own: remove it, the comment above is enough")
        pieces += [source[done : routine.end], _statements(routine)]
        done = routine.end
    return "".join([*pieces, source[done:]])


def _statements(routine: Routine) -> str:
    kind = "PROCEDURE" if routine.kind == "PROCEDURE" else "FUNCTION"
    lines = [f"REVOKE ALL ON {kind} {routine.signature} FROM PUBLIC;"]
    lines += [f"GRANT EXECUTE ON {kind} {routine.signature} TO {role};" for role in routine.roles]
    lines.append(f"COMMENT ON {routine.kind} {routine.signature} IS {_quote(routine.comment)};")
    return "\n".join(lines) + "\n"


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
    texts = {source: source.read_text(encoding="utf-8") for source in [*sources, LOADER, CATALOG_SETTINGS]}
    for source, text in texts.items():
        check_ascii(str(source), text)
    loader, settings = texts.pop(LOADER), texts.pop(CATALOG_SETTINGS)
    texts = {source: expand_documentation(text) for source, text in texts.items()}
    rows = [row for text in texts.values() for row in collect_privileges(text)]
    privileges = ",\n".join(f"    ({', '.join(map(_quote, row))})" for row in rows) + "\n"
    script = "\n".join(texts.values()).replace("@catalog_settings@\n", settings)
    script = script.replace("\n@privileges@\n", f"\n{privileges}")
    script = _LOAD.sub(
        lambda load: loader.replace("@name@", load["name"]).replace("@arguments@", load["arguments"]), script
    )
    if "@load@" in script:
        raise SourceError("the line after @load@ must be: return GD['pgkeymgr'].NAME(...)")
    script = script.replace("@version@", version).replace("@build@", build_hash(script, version))
    # In a string of Python, where any character can be written in ASCII.
    return script.replace("@libdir@", ascii(libdir)[1:-1])


def build_hash(script: str, version: str) -> str:
    """Return the hash of an install script, which does not depend on where the Python package is installed.

    Args:
        script: the text, with ``@libdir@`` for the directory.
        version: of the extension.

    Returns:
        16 hexadecimal digits.
    """
    text = script.replace("@version@", version)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    """Build the script that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the install script of the extension.")
    parser.add_argument("--libdir", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--build-output", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    try:
        script = build(arguments.sources, arguments.libdir, arguments.version)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.build_output:
        found = _BUILD.search(script)
        arguments.build_output.write_text(f"{found[1] if found else ''}\n", encoding="ascii")
    # Renamed at the end, so that a build that was interrupted leaves no half script.
    new = arguments.output.with_name(arguments.output.name + ".new")
    new.write_text(script, encoding="ascii")
    new.replace(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
