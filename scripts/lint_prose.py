"""Refuse words and phrases that make the project's English hard to read.

    python scripts/lint_prose.py [FILE...]

The prose of a file is everything in it, with two exceptions: of a Python file only the comments and the strings
that have a space in them, of a Markdown file no code. The files are all those that git tracks, but for the
exceptions in `[tool.prose]` of pyproject.toml, or those that are named. Each rule has a remedy; the reasons are
in CONTRIBUTING.md.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

from lint_files import tracked_files

TOP = Path(__file__).resolve().parents[1]

_START = r"(?:\A|(?<=[.!?][ \n])|(?<=\n\n)|(?<=\n- ))(?:\*\*)?"
"""The start of a sentence."""

RULES = {
    # Words that have gone out of use.
    r"\banew\b": "again; for the first time: new",
    r"\bquicken(s|ed|ing)?\b": "speed up",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bfor ever\b": "forever",
    r"\bmeanwhile(?=[.,;:)]|$)": "in the meantime, at the clause's start; or the name of what happens then",
    r"\b(hitherto|thereof|therein|thereby|whence|thence|whilst|amongst|lest|nought|naught)\b": "a current word",
    r"\bthe whole of\b": "all of",
    r"\b(can|could|cannot|may|might|must|will|would|should) else\b": "otherwise, at the clause's start",
    r"\bbe had\b": "be obtained, read, fetched",
    r"\bwho(m|so)?ever\b": "every role that; any session; regardless of",
    # Verbs with another meaning than their usual one.
    r"\b(is|are|was|were|be|been) told\b": "reported, shown; learns",
    r"\btells? (him|her|it|them|of)\b": "report, show, reveal",
    r"\b[Tt]ells?,? (in constant time, )?(whether|if)\b": "Return whether; check whether",
    r"\A\s*Tells? ": "Return; report",
    r"\A\s*Takes? (a|an|its|one|the|what|where|which|whom?)\b": "Initialize; read; receive",
    # A sentence whose subject is a clause, or a pronoun without its noun.
    rf"{_START}(What|Who|Whoever|Whatever|Whom) [^.?!]*[.;:]": "name the subject: begin with its noun",
    rf"{_START}(One|Those|That) (that|which|who|of) ": "name the noun that it stands for",
    r"; (its id|the view|the number|its fingerprint)\.": "Return the id, in a sentence of its own",
    # Messages of PostgreSQL have these forms.
    r"\bthere is (already )?an? .{,60} already\b|\b(has|have) .{,60} already\Z": "already exists; already has",
    r"\bthere is no (role|table|column|function|database|user|schema)\b": "does not exist",
}
"""The phrases that are refused, as regular expressions, and the wording to use instead."""


class Passage:
    """A comment, a string or a paragraph, with the line that it begins in."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text


def passages_of_python(source: str) -> Iterator[Passage]:
    """Yield the comments of a Python file, adjacent lines as one, and its strings that have a space in them."""
    comment: Passage | None = None
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#").strip()
            if comment is not None and token.start[0] == last + 1:
                comment.text += f"\n{text}"
            else:
                if comment is not None:
                    yield comment
                comment = Passage(token.start[0], text)
            last = token.start[0]
    if comment is not None:
        yield comment
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield Passage(node.lineno, node.value)


def passages_of_markdown(source: str) -> Iterator[Passage]:
    """Yield the text of a Markdown file, in which spaces stand for code."""
    is_code = False
    lines = []
    for line in source.splitlines():
        if line.startswith("```"):
            is_code = not is_code
        is_text = not (is_code or line.startswith(("```", "    ")))
        lines.append(re.sub(r"`[^`]*`", lambda code: "x" * len(code[0]), line) if is_text else "")
    yield Passage(1, "\n".join(lines))


def blocks_of_comments(source: str, mark: str) -> Iterator[Passage]:
    """Yield the comments that fill their lines, adjacent lines as one."""
    for found in re.finditer(rf"(?:^[ \t]*{mark}.*\n?)+", source, re.MULTILINE):
        text = re.sub(rf"^[ \t]*{mark} ?", "", found[0], flags=re.MULTILINE)
        yield Passage(source.count("\n", 0, found.start()) + 1, text)


def passages_of_sql(source: str) -> Iterator[Passage]:
    """Yield the comments of a SQL file, its strings that have a space in them, and all else as one."""
    yield from blocks_of_comments(source, "--")
    # An apostrophe in a comment begins no string.
    without_comments = re.sub(r"--.*", lambda comment: " " * len(comment[0]), source)
    for found in re.finditer(r"'((?:[^']|'')* (?:[^']|'')*)'", without_comments):
        yield Passage(source.count("\n", 0, found.start()) + 1, found[1])
    # Psql's backslashes and dollar quotes may hide where a string begins, but not the words in it.
    # A function's name is no word.
    yield Passage(1, re.sub(r"\w+(?=\()", lambda name: "x" * len(name[0]), without_comments))


def passages_of_others(source: str) -> Iterator[Passage]:
    """Yield the comments of a script or a Makefile, and all else in it as one."""
    yield from blocks_of_comments(source, "#")
    yield Passage(1, re.sub(r"^[ \t]*#.*", "", source, flags=re.MULTILINE))


def passages(file: Path) -> Iterator[Passage]:
    """Yield the prose of a file."""
    source = file.read_text()
    if file.suffix == ".py":
        yield from passages_of_python(source)
    elif file.suffix == ".md":
        yield from passages_of_markdown(source)
    elif file.suffix == ".sql":
        yield from passages_of_sql(source)
    else:
        yield from passages_of_others(source)


def findings(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield what a file has that it should not have: the line, the words, and what to write instead."""
    seen = set()
    for passage in passages(file):
        for pattern, remedy in RULES.items():
            for found in re.finditer(pattern, passage.text):
                line = passage.line + passage.text.count("\n", 0, found.start())
                finding = line, " ".join(found[0].split()), remedy
                if finding not in seen:
                    seen.add(finding)
                    yield finding


def files_with_prose() -> list[Path]:
    """Return the files that are to be checked: those that git tracks, but for the exceptions in pyproject.toml."""
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["prose"]
    return [
        TOP / name
        for name in tracked_files(TOP)
        if not _is_below(name, settings["except"]) and (TOP / name).is_file()
    ]


def _is_below(name: str, paths: list[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def main() -> int:
    """Check the files, and return the exit status."""
    files = [Path(name) for name in sys.argv[1:]] or files_with_prose()
    count = 0
    for file in files:
        for line, words, remedy in sorted(findings(file)):
            print(
                f"{file.relative_to(TOP) if file.is_absolute() else file}:{line}: {words!r}: {remedy}",
                file=sys.stderr,
            )
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
