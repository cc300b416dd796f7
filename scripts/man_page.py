"""Make the man page of the command, and its completion for bash, zsh and fish, from the command itself.

    python scripts/man_page.py --output DIRECTORY

The files are DIRECTORY/pgkeymgr.1, and the files that shells load: completion/bash, completion/zsh and
completion/fish. The command must be importable, with its libraries.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pgkeymgr import __version__
from pgkeymgr.command import app

SHELLS = ("bash", "zsh", "fish")

_HEAD = f"""\
.\\" Made by scripts/man_page.py; do not edit.
.TH PGKEYMGR 1 "" "pgkeymgr {__version__}" "pgkeymgr"
.SH NAME
pgkeymgr \\- manage the keys and encrypted columns of PostgreSQL databases
.SH SYNOPSIS
.B pgkeymgr
.I COMMAND
.RI [ OPTIONS ]
.RI [ ARGUMENTS ]
.SH DESCRIPTION
pgkeymgr administers the PostgreSQL extension of the same name from outside the database. It makes and rotates the
root key, encrypts columns, lists keys, grants and events, and examines all databases of a cluster. It connects as
.BR psql (1)
does.
.PP
Without
.BR \\-\\-json ,
results are text on stdout, wrapped at words on a terminal, and a line for each row in a pipe. Messages go
to stderr.
"""
_TAIL = """\
.SH EXIT STATUS
0 is success, 1 is a failure or a problem that was found, 2 is wrong usage, and 130 is an end by Ctrl\\-C. Some
commands have others, which are listed above.
.SH ENVIRONMENT
.TP
.BR PGHOST ", " PGPORT ", " PGUSER ", " PGDATABASE ", " PGSERVICE ", " PGPASSFILE
The variables of libpq.
.TP
.B PGDATA
The data directory, for
.B init
and
.BR "root new" .
.TP
.B PGKEYMGR_AGENT
The socket of the agent.
.TP
.B COLUMNS
The width of the output.
.TP
.B NO_COLOR
If it is set, the output has no colours.
.SH SEE ALSO
.BR psql (1)
"""


def roff(text: str) -> str:
    """Return a text so that a man page shows it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"(?m)^([.'])", r"\\&\1", text)
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)


def man_page(command: Any) -> str:
    """Return the man page of a command with subcommands.

    Args:
        command: the click command.
    """
    sections = "".join(_section(each, names) for each, names in _leaves(command, ["pgkeymgr"]))
    return f"{_HEAD}.SH COMMANDS\n{sections}{_TAIL}"


def _leaves(command: Any, names: list[str]) -> Iterator[tuple[Any, list[str]]]:
    """Yield each command that can be called, with the words that call it."""
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield command, names
    for name, child in children.items():
        yield from _leaves(child, [*names, name])


def _section(command: Any, names: list[str]) -> str:
    context = _context(command, names)
    usage = " ".join([*names, *command.collect_usage_pieces(context)])
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    lines = [f'.SS "{roff(usage)}"', *(f"{roff(' '.join(each.split()))}\n.PP" for each in paragraphs)]
    lines[-1] = lines[-1].removesuffix("\n.PP")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.name != "help":
            lines += [".TP", f".B {roff(record[0])}", roff(" ".join(record[1].split())) or "\\&"]
    if command.epilog:
        lines += [".PP", roff(" ".join(command.epilog.split()))]
    return "\n".join(lines) + "\n"


def _context(command: Any, names: list[str]) -> Any:
    return command.context_class(command, info_name=" ".join(names))


def completion(shell: str) -> str:
    """Return the file that a shell loads for the completion of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "pgkeymgr.command", "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    script = done.stdout.rstrip("\n") + "\n"
    if shell == "zsh":
        # The first completion in a session loads the file as a function, and has to be answered, too.
        script = re.sub(
            r"(?m)^compdef (\w+) (\w+)$",
            r'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n    \1 "$@"\nelse\n    compdef \1 \2\nfi',
            script,
        )
    return script


def main() -> None:
    """Write the files that the arguments name."""
    parser = argparse.ArgumentParser(description="Make the man page and the completion of the command.")
    parser.add_argument("--output", required=True, type=Path)
    output: Path = parser.parse_args().output
    (output / "completion").mkdir(parents=True, exist_ok=True)
    (output / "pgkeymgr.1").write_text(man_page(typer.main.get_command(app)), encoding="utf-8")
    for shell in SHELLS:
        (output / "completion" / shell).write_text(completion(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
