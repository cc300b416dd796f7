"""Look at what is installed before ``make install`` changes it, and remove a version in ``make uninstall``.

    python scripts/installation.py check --version VERSION --extension-dir DIRECTORY --lib-dir DIRECTORY \
        --script FILE --tree DIRECTORY --bindir DIRECTORY
    python scripts/installation.py remove --version VERSION --extension-dir DIRECTORY --lib-dir DIRECTORY \
        --share-dir DIRECTORY --doc-dir DIRECTORY --command FILE

``check`` refuses to replace another build of the same version while a running cluster uses it: its databases have
the SQL of the old build, and its sessions would import the Python of the new one. It needs no more privileges than
make install: it finds the running servers of this PostgreSQL in /proc, and asks each as the user that runs it. A
server that cannot be asked counts as one that uses the build.

``remove`` deletes the files of one version. Another version keeps its files, and gets the command and the control
file. The libraries stay as long as another PostgreSQL of this machine has the same version.
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_QUERY = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pgkeymgr'"
_DATABASES = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn"
_SECONDS = 5
"""The longest time to wait for an answer. A server that is starting up or hung cannot be asked."""


class Server(NamedTuple):
    """A running server: the number of its first process, its user, and its data directory."""

    pid: int
    uid: int
    directory: Path


def is_same_build(script: Path, tree: Path, extension_directory: Path, library_directory: Path) -> bool:
    """Return whether the installed files of this version have the contents that were built, or are not there.

    Args:
        script: the install script that was built.
        tree: the Python tree that was built, named after its Python.
        extension_directory: where PostgreSQL looks for install scripts.
        library_directory: where the Python trees of this version are installed.
    """
    installed = extension_directory / script.name
    if installed.exists() and not filecmp.cmp(script, installed, shallow=False):
        return False
    old, new = library_directory / tree.name / "pgkeymgr", tree / "pgkeymgr"
    return not old.exists() or _sources(old) == _sources(new)


def _sources(package: Path) -> dict[str, bytes]:
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.py")}


def running_servers(bindir: Path, proc: Path = Path("/proc")) -> Iterator[Server]:
    """Yield the servers of a PostgreSQL that see the same files as this process.

    Args:
        bindir: the directory of the program postgres.
        proc: where the kernel lists the processes.
    """
    program = (bindir / "postgres").resolve()
    for process in proc.glob("[0-9]*"):
        try:
            # A server in a container has another installation at the same path.
            if os.readlink(process / "ns/mnt") != os.readlink(proc / "self/ns/mnt"):
                continue
            if Path(os.readlink(process / "exe").removesuffix(" (deleted)")) != program:
                continue
            directory = Path(os.readlink(process / "cwd"))
            # Its children have the same program and directory.
            if (directory / "postmaster.pid").read_text().split("\n")[0] == process.name:
                yield Server(int(process.name), process.stat().st_uid, directory)
        except OSError:
            continue


def databases_with(server: Server, bindir: Path, version: str) -> list[str]:
    """Return the databases of a server that have this version of the extension.

    Args:
        server: which runs.
        bindir: the directory of the program psql.
        version: of the extension.

    Raises:
        OSError, subprocess.SubprocessError: the server cannot be asked.
    """
    lines = (server.directory / "postmaster.pid").read_text().splitlines()
    port, sockets = lines[3], lines[4]

    def ask(database: str, query: str) -> list[str]:
        name = database.replace("\\", "\\\\").replace("'", "\\'")
        target = f"host='{sockets or 'localhost'}' port={port} dbname='{name}' connect_timeout={_SECONDS}"
        options = ["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--record-separator-zero"]
        done = subprocess.run(
            [bindir / "psql", *options, "--command", query, "--dbname", target],
            # A database's own settings must not make the query wait for something.
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGOPTIONS": "-c search_path="},
            user=server.uid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            timeout=2 * _SECONDS,
        )
        return [row.removesuffix("\n") for row in done.stdout.split("\0") if row.strip()]

    try:
        names = ask("postgres", _DATABASES)
    except subprocess.CalledProcessError:
        names = ask("template1", _DATABASES)
    return [name for name in names if version in ask(name, _QUERY)]


def check(arguments: argparse.Namespace) -> int:
    """Return 1 if the installation would replace another build that a running cluster uses, and say so."""
    if is_same_build(arguments.script, arguments.tree, arguments.extension_dir, arguments.lib_dir):
        return 0
    found = []
    for server in running_servers(arguments.bindir):
        try:
            names = databases_with(server, arguments.bindir, arguments.version)
        except (OSError, subprocess.SubprocessError) as error:
            found.append(f"the server {server.pid} of {server.directory}, which cannot be asked: {_reason(error)}")
            continue
        if names:
            found.append(f"the server {server.pid} of {server.directory}, in: {', '.join(names)}")
    what = f"another build of pgkeymgr {arguments.version} is installed"
    if not found:
        print(f"make install: {what}; it is replaced, since no running server uses it")
        return 0
    print(f"make install: {what}, and these use it:", *found, sep="\n    ", file=sys.stderr)
    if os.environ.get("FORCE") == "1":
        print("make install: it is replaced all the same, because of FORCE=1", file=sys.stderr)
        return 0
    print(
        "make install: nothing was changed. Stop these servers, or install a build with a version of its own. To "
        "replace the build under running sessions, run: make install FORCE=1",
        file=sys.stderr,
    )
    return 1


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    return str(said).strip().splitlines()[-1] if said else str(error)


def other_versions(library_directory: Path, extension_directory: Path) -> list[str]:
    """Return the other versions that are complete, the newest last.

    Args:
        library_directory: that of the version that goes.
        extension_directory: where PostgreSQL looks for install scripts.
    """
    versions = [
        path.name
        for path in library_directory.parent.glob("[0-9]*")
        if path != library_directory and (extension_directory / f"pgkeymgr--{path.name}.sql").exists()
    ]
    return sorted(versions, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def other_scripts(script: Path, library_directory: Path) -> list[Path]:
    """Return the install scripts of this version that other PostgreSQLs have, and that need the same libraries.

    Args:
        script: that of the PostgreSQL which it is removed from, in its directory.
        library_directory: where the Python trees of this version are.
    """
    version, extension = script.parts[-3], script.parent.name
    shared = script.parents[2]
    if not re.fullmatch(r"\d+", version):
        return []
    return [
        other
        for other in sorted(shared.glob(f"*/{extension}/{script.name}"))
        if other != script and f"'{library_directory}/" in other.read_text("utf-8", "replace")
    ]


def remove(arguments: argparse.Namespace) -> int:
    """Remove the files of a version, without those that another version or another PostgreSQL needs."""
    version, libraries, extension = arguments.version, arguments.lib_dir, arguments.extension_dir
    script = extension / f"pgkeymgr--{version}.sql"
    control = extension / "pgkeymgr.control"
    # In DESTDIR, the script names the directory that it will have.
    real_libraries = Path("/") / libraries.relative_to(arguments.destdir or "/")
    for path in [script, *extension.glob(f"pgkeymgr--*--{version}.sql")]:
        path.unlink(missing_ok=True)
    others = other_versions(libraries, extension)
    if others:
        _replace(control, rf"(?m)^default_version = '{re.escape(version)}'", f"default_version = '{others[-1]}'")
    elif not list(extension.glob("pgkeymgr--*.sql")):
        control.unlink(missing_ok=True)
    needed_by = other_scripts(script, real_libraries)
    if needed_by:
        print(f"make uninstall: {libraries} stays, since {', '.join(map(str, needed_by))} needs it")
        return 0
    shutil.rmtree(libraries, ignore_errors=True)
    if remaining := [path.name for path in libraries.parent.glob("[0-9]*")]:
        kept = others[-1] if others else max(remaining)
        print(f"make uninstall: {arguments.command} is that of version {kept} now; its samples and pages stay")
        _replace(arguments.command, rf"(?<=/){re.escape(version)}(?=/)", kept)
        return 0
    for path in (arguments.share_dir, arguments.doc_dir):
        shutil.rmtree(path, ignore_errors=True)
    for path in [arguments.command, *arguments.other_files]:
        path.unlink(missing_ok=True)
    if libraries.parent.is_dir() and not any(libraries.parent.iterdir()):
        libraries.parent.rmdir()
    return 0


def _replace(path: Path, pattern: str, text: str) -> None:
    """Replace a text in a file, and the file at once: another process may be reading it."""
    if not path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    new.write_text(re.sub(pattern, text, path.read_text("utf-8")), "utf-8")
    new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)


def main() -> int:
    """Do what the arguments say, and return the exit status."""
    parser = argparse.ArgumentParser(description="Check or remove an installation.")
    commands = parser.add_subparsers(required=True)
    for name, function in (("check", check), ("remove", remove)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--version", required=True)
        command.add_argument("--extension-dir", required=True, type=Path)
        command.add_argument("--lib-dir", required=True, type=Path)
        if name == "check":
            command.add_argument("--script", required=True, type=Path)
            command.add_argument("--tree", required=True, type=Path)
            command.add_argument("--bindir", required=True, type=Path)
        else:
            command.add_argument("--destdir", default="")
            command.add_argument("--share-dir", required=True, type=Path)
            command.add_argument("--doc-dir", required=True, type=Path)
            command.add_argument("--command", required=True, type=Path)
            command.add_argument("other_files", nargs="*", type=Path)
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())
