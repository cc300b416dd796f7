"""Refuse binaries among the files that git tracks: nobody can review them, and every clone keeps them forever.

    python scripts/lint_files.py

A file is refused if its ending is that of an archive (a wheel is one), of a compiled file or of a database, or if
it contains a NUL byte. PNG images are allowed below docs/.
"""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

ARCHIVE_ENDINGS = frozenset(
    {".7z", ".bz2", ".deb", ".egg", ".gz", ".jar", ".rpm", ".tar", ".tgz", ".whl", ".xz", ".zip", ".zst"}
)
COMPILED_ENDINGS = frozenset(
    {".a", ".bin", ".class", ".dll", ".dylib", ".exe", ".o", ".pyc", ".pyd", ".pyo", ".so"}
)
DATABASE_ENDINGS = frozenset({".db", ".sqlite"})
REFUSED_ENDINGS = ARCHIVE_ENDINGS | COMPILED_ENDINGS | DATABASE_ENDINGS
IMAGE_ENDINGS = frozenset({".png"})
IMAGE_FOLDERS = frozenset({"docs"})


def tracked_files(top: Path) -> list[str]:
    """Return the paths of the files that git tracks, relative to the top of the work tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=top, check=True, capture_output=True)
    return [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def why_refused(top: Path, name: str) -> str | None:
    """Return why a file must not be in the repository, or None if it may.

    Args:
        top: of the work tree.
        name: the file's path, relative to it.
    """
    path = PurePosixPath(name)
    # The endings of lib.so.1 are .so and .1.
    refused = REFUSED_ENDINGS.intersection(suffix.lower() for suffix in path.suffixes)
    if refused:
        return f"{min(refused)} files are binaries"
    is_image = path.suffix.lower() in IMAGE_ENDINGS
    if is_image and path.parts[0] not in IMAGE_FOLDERS:
        return f"images belong below {', '.join(sorted(IMAGE_FOLDERS))}"
    file = top / name
    # A symbolic link's target is text; a file that was deleted is not committed any more.
    if is_image or file.is_symlink() or not file.is_file():
        return None
    return "it contains a NUL byte" if b"\0" in file.read_bytes() else None


def main() -> int:
    """Check the work tree that this file is in, and return the exit status."""
    top = Path(__file__).resolve().parents[1]
    refused = [(name, why) for name in tracked_files(top) if (why := why_refused(top, name))]
    for name, why in refused:
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
