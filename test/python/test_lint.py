"""The project's own linters of ``make lint``."""

import subprocess
from pathlib import Path

import lint_files
import pytest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tool-1.0-py3-none-any.whl", b"text"),
        ("lib/libx.so", b"text"),
        ("lib/libx.so.23", b"text"),
        ("a.O", b"text"),
        ("module.pyc", b"text"),
        ("data.tar.gz", b"text"),
        ("data.ZIP", b"text"),
        ("no-ending", b"text\0text"),
        ("late.txt", b"x" * 100_000 + b"\0"),
        ("picture.png", b"\x89PNG\0"),
        ("test/picture.png", b"\x89PNG\0"),
    ],
)
def test_binaries_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    assert lint_files.why_refused(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("module.py", b"text"),
        ("empty", b""),
        ("latin1.txt", b"\xe4\xf6\xfc"),
        ("something.sold", b"text"),
        ("docs/picture.png", b"\x89PNG\0"),
    ],
)
def test_texts_are_allowed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    assert lint_files.why_refused(tmp_path, name) is None


def test_only_tracked_files_are_looked_at(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    tracked = ["ä b.txt", "in/a folder.txt"]
    for name in [*tracked, "untracked.whl"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "add", *tracked], cwd=tmp_path, check=True)
    (tmp_path / tracked[0]).unlink()
    assert sorted(lint_files.tracked_files(tmp_path)) == sorted(tracked)
    assert not [name for name in tracked if lint_files.why_refused(tmp_path, name)]
