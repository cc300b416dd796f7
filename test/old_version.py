"""A PostgreSQL installation of its own, which has version 0.1.0 of the extension beside the present one.

PostgreSQL finds its files relative to its programs. So a copy of the programs has an extension directory of its
own, whose other files are links to those of the machine. The machine's own installation stays as it is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pgkeymgr
from cluster import pg_config

TOP = Path(__file__).parents[1]
COMMIT = "04df594d88a047d6da39d0ba62bfa6e09141d25c"
"""The commit that is version 0.1.0."""
VERSION = "0.1.0"

_PREFIX = Path(os.environ.get("PREFIX", "/usr/local"))
_NEEDED = ("sql", "python", "Makefile")
_PROGRAMS = ("postgres", "initdb", "pg_ctl")


def why_not() -> str | None:
    """Return why version 0.1.0 cannot be installed here, or None if it can."""
    done = subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=TOP, check=False, capture_output=True)
    return None if done.returncode == 0 else "version 0.1.0 is in no clone without history: git fetch --unshallow"


def install(directory: Path) -> Path:
    """Make the installation.

    Args:
        directory: where it is made; it must be empty, and everybody must be able to enter it.

    Returns:
        The directory of its programs.
    """
    bin_directory, share, library = (pg_config(option) for option in ("bindir", "sharedir", "pkglibdir"))
    root = Path(os.path.commonpath([bin_directory, share, library]))
    ours = {path: directory / path.relative_to(root) for path in (bin_directory, share, library)}
    for path in ours.values():
        path.mkdir(parents=True)
    for program in _PROGRAMS:
        # A link would lead PostgreSQL to the machine's own files.
        shutil.copy(bin_directory / program, ours[bin_directory])
    _link_all(library, ours[library])
    _link_all(share, ours[share], but="extension")
    extension = ours[share] / "extension"
    extension.mkdir()
    _link_all(share / "extension", extension)
    script = extension / f"pgkeymgr--{VERSION}.sql"
    # A 0.1.0 of the machine's own is not taken: other commits have had the number, too.
    script.unlink(missing_ok=True)
    source = directory / "source"
    source.mkdir()
    extract(source)
    libdir = directory / "python"
    script.write_text(install_script(source, str(libdir)), encoding="utf-8")
    for tree in (_PREFIX / "lib" / "pgkeymgr" / pgkeymgr.__version__).iterdir():
        if tree.name.removeprefix("cp").isdigit():
            _python_tree(source / "python" / "pgkeymgr", tree, libdir / tree.name)
    directory.chmod(0o755)
    return ours[bin_directory]


def extract(directory: Path) -> None:
    """Write the sources of version 0.1.0 to a directory."""
    command = ["git", "archive", COMMIT, *_NEEDED]
    archive = subprocess.run(command, cwd=TOP, check=True, capture_output=True)
    subprocess.run(["tar", "--extract", f"--directory={directory}"], input=archive.stdout, check=True)


def _link_all(source: Path, target: Path, but: str = "") -> None:
    for path in source.iterdir():
        if path.name != but:
            (target / path.name).symlink_to(path)


def install_script(source: Path, libdir: str) -> str:
    """Return the install script of 0.1.0, as its Makefile makes it with awk and sed.

    Args:
        source: the directory of its sources.
        libdir: the directory that Python packages are installed below.
    """
    # This make reads the list of sources only.
    listed = subprocess.run(
        ["make", "--no-print-directory", "-f", "Makefile", "-f", "-", "list-sources"],
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
        input="list-sources:\n\t@echo $(PGK_SQL_SOURCES)\n",
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout.split()
    loader = (source / "sql" / "load.py.in").read_text()
    script = "\n".join((source / name).read_text() for name in listed)
    script = script.replace("\n@load@\n", f"\n{loader}")
    return script.replace("@libdir@", libdir).replace("@version@", VERSION)


def _python_tree(package: Path, present: Path, tree: Path) -> None:
    """Put the package beside the libraries of the present version, which are what it needs, too."""
    tree.mkdir(parents=True)
    _link_all(present, tree, but="pgkeymgr")
    shutil.copytree(package, tree / "pgkeymgr")


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
