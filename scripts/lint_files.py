"""Refuse binaries and very long sources among the files that git tracks.

    python scripts/lint_files.py

Nobody can review a binary, and every clone keeps it forever. A file is refused if its ending is that of an archive
(a wheel is one), of a compiled file or of a database, or if it contains a NUL byte. PNG images are allowed below
docs/. A Python or SQL file of more than 1,000 lines is refused, since readers do not find things in it: split it
by subject.
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
SOURCE_ENDINGS = frozenset({".py", ".sql"})
LINES_MAX = 1000


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
    content = file.read_bytes()
    if b"\0" in content:
        return "it contains a NUL byte"
    if path.suffix in SOURCE_ENDINGS and (lines := content.count(b"\n")) > LINES_MAX:
        return f"it has {lines} lines; split it by subject, so that no file has more than {LINES_MAX}"
    return None


def main() -> int:
    """Check the work tree that this file is in, and return the exit status."""
    top = Path(__file__).resolve().parents[1]
    refused = [(name, why) for name in tracked_files(top) if (why := why_refused(top, name))]
    for name, why in refused:
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
