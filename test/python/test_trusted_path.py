"""Files that somebody else could have made or exchanged, with real files, directories, links and users.

Each arrangement is tried with everything that uses a file because its path was named: a getkey script, agent.toml,
a provider's private file, library and certificate, and the agent's socket. Only root can make most of them.
"""

import ctypes
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pgkeymgr.agent import listener, settings
from pgkeymgr.agent.remote import RemoteRootKey, UnreachableError
from pgkeymgr.errors import Error, GetkeyError
from pgkeymgr.provider import files, pkcs11
from pgkeymgr.root_key import getkey, trusted_path

KEY = "0123456789abcdef" * 4
PACKAGE = Path(trusted_path.__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
OTHER = next(user for user in pwd.getpwall() if user.pw_uid not in (0, os.geteuid(), 65534))
"""Another user, and a group: of Debian's, daemon."""

THEIRS = rf"belongs to user id {OTHER.pw_uid} \({OTHER.pw_name}\)"


class Use(NamedTuple):
    """Something that uses a file.

    Attributes:
        content: a file that it takes.
        mode: the permissions that the file has.
        use: does it with a path; raises an error if the file is refused.
    """

    content: str
    mode: int
    use: Callable[[str], object]


def _close(descriptor: int) -> None:
    os.close(descriptor)


def _use_certificate(path: str) -> None:
    with files.open_checked(path) as name:
        assert Path(name).read_text() == "certificate"


def _use_tls_key(path: str) -> None:
    with files.open_checked(path, is_private=True) as name:
        assert Path(name).read_text() == "key"


FILES = {
    "getkey": Use(f"#!/bin/sh\necho {KEY}\n", 0o500, getkey.run),
    "agent.toml": Use("max_clients = 5\n", 0o644, settings.read),
    "private file": Use(KEY, 0o600, files.read_private),
    "library": Use("library", 0o644, lambda path: _close(files.open_library(path))),
    "certificate": Use("certificate", 0o644, _use_certificate),
    "TLS key": Use("key", 0o600, _use_tls_key),
}


def _claim(path: str) -> None:
    _close(listener.claim(path))


def _connect(path: str) -> None:
    # Nobody listens there. Before that is noticed, the directories are looked at.
    with pytest.raises(UnreachableError, match="could not be reached"):
        _ = RemoteRootKey(path).fingerprint


SOCKETS = {"agent": Use("", 0o600, _claim), "session": Use("", 0o600, _connect)}

EVERYTHING = {**FILES, **SOCKETS}


class Tree:
    """The directories ``one/two``, with a file in the second."""

    def __init__(self, root: Path, use: Use) -> None:
        self.root = root
        self.use = use
        self.one, self.two = root / "one", root / "one" / "two"
        self.two.mkdir(parents=True)
        for directory in (self.one, self.two):
            directory.chmod(0o755)
        self.file = self.write(self.two / "file")

    def write(self, path: Path) -> Path:
        """Write a file that is taken."""
        path.write_text(self.use.content)
        path.chmod(self.use.mode)
        return path

    def link(self, path: Path, target: Path | str) -> Path:
        """Make a symbolic link."""
        path.symlink_to(target)
        return path


def give(path: Path, mode: int | None = None, group_only: bool = False) -> None:
    """Give a file, a directory or a link to the other user, or only to that user's group."""
    os.chown(path, -1 if group_only else OTHER.pw_uid, OTHER.pw_gid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)


def accepts(use: Use, path: Path) -> None:
    use.use(str(path))


def refuses(use: Use, path: Path, reason: str) -> None:
    with pytest.raises(Error) as refused:
        use.use(str(path))
    assert re.search(reason, refused.value.message), refused.value.message
    assert KEY not in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


@pytest.fixture(params=EVERYTHING)
def everything(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path, EVERYTHING[request.param])


@pytest.fixture(params=FILES)
def a_file(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path, FILES[request.param])


# Directories


@needs_root
def test_a_directory_two_levels_up_of_another_user(everything: Tree) -> None:
    accepts(everything.use, everything.file)
    give(everything.one)
    refuses(everything.use, everything.file, f'lies in the directory "{everything.one}", which {THEIRS}')


@needs_root
@pytest.mark.parametrize("use", [*FILES.values(), SOCKETS["agent"]], ids=[*FILES, "agent"])
def test_a_directory_of_another_user(tmp_path: Path, use: Use) -> None:
    tree = Tree(tmp_path, use)
    give(tree.two)
    refuses(use, tree.file, f'lies in the directory "{tree.two}", which {THEIRS}')
    # The sticky bit does not keep its owner from exchanging what is in it.
    tree.two.chmod(0o1777)
    refuses(use, tree.file, THEIRS)


@needs_root
def test_a_session_trusts_the_owner_of_the_sockets_directory(tmp_path: Path) -> None:
    """It looks at the user of the process that listens there; see test_agent.py."""
    tree = Tree(tmp_path, SOCKETS["session"])
    give(tree.two)
    accepts(tree.use, tree.file)
    give(tree.one)
    accepts(tree.use, tree.file)
    os.chown(tree.one, OTHER.pw_uid + 1, 0)
    refuses(tree.use, tree.file, f"belongs to user id {OTHER.pw_uid + 1}")


@pytest.mark.parametrize("which", ["one", "two"])
def test_a_directory_that_others_can_write(everything: Tree, which: str) -> None:
    directory: Path = getattr(everything, which)
    for mode in (0o777, 0o757, 0o773):
        directory.chmod(mode)
        refuses(everything.use, everything.file, f'lies in the directory "{directory}", which .* can write')
    directory.chmod(0o1777)
    accepts(everything.use, everything.file)


@needs_root
@pytest.mark.parametrize("which", ["one", "two"])
def test_a_directory_that_a_group_can_write(everything: Tree, which: str) -> None:
    """As /usr/local is on some Debian machines: root:staff, mode 2775."""
    directory: Path = getattr(everything, which)
    for mode in (0o775, 0o2775):
        give(directory, mode, group_only=True)
        refuses(everything.use, everything.file, f'lies in the directory "{directory}", which the group')
        with pytest.raises(Error) as refused:
            everything.use.use(str(everything.file))
        assert f"Run chmod g-w {directory}" in str(refused.value.hint)
    directory.chmod(0o1775)
    accepts(everything.use, everything.file)


# Symbolic links


@pytest.mark.parametrize("target", ["file", "../two/file", "./file", "/absolute"])
def test_links_are_followed(a_file: Tree, target: str) -> None:
    link = a_file.link(a_file.two / "link", str(a_file.file) if target == "/absolute" else target)
    accepts(a_file.use, link)
    accepts(a_file.use, a_file.link(a_file.root / "more", link))
    accepts(a_file.use, a_file.link(a_file.root / "directory", "one") / "two" / "link")
    accepts(a_file.use, a_file.root / "directory" / ".." / "one" / "." / "two" / "file")
    # Not where a path without links would lead.
    other = a_file.root / "other"
    other.mkdir()
    a_file.link(other / "up", a_file.two)
    accepts(a_file.use, other / "up" / ".." / "two" / "file")


@needs_root
def test_a_link_in_a_directory_of_another_user(a_file: Tree) -> None:
    """The target of the link is as it should be, and could be replaced at the next moment."""
    theirs = a_file.root / "theirs"
    theirs.mkdir()
    link = a_file.link(theirs / "link", a_file.file)
    directory = a_file.link(theirs / "directory", a_file.one)
    again = a_file.link(a_file.root / "again", link)
    give(theirs, 0o755)
    for path in (link, directory / "two" / "file", again):
        refuses(a_file.use, path, f'lies in the directory "{theirs}", which {THEIRS}')
    os.chown(theirs, 0, OTHER.pw_gid)
    accepts(a_file.use, again)
    theirs.chmod(0o775)
    for path in (link, directory / "two" / "file", again):
        refuses(a_file.use, path, f'lies in the directory "{theirs}", which the group')


@needs_root
def test_a_link_of_another_user_in_a_sticky_directory(everything: Tree) -> None:
    everything.root.chmod(0o1777)
    link = everything.link(everything.root / "link", "one")
    accepts(everything.use, link / "two" / "file")
    give(link)
    refuses(everything.use, link / "two" / "file", f'is reached by the symbolic link "{link}", which {THEIRS}')


def test_links_that_lead_nowhere(a_file: Tree) -> None:
    loop = a_file.link(a_file.two / "loop", "loop")
    refuses(a_file.use, loop, "could not be read: Too many levels of symbolic links")
    dangling = a_file.link(a_file.two / "dangling", "nothing")
    refuses(a_file.use, dangling, "could not be read: No such file or directory")
    refuses(a_file.use, a_file.file / "below", "could not be read: Not a directory")


# Files


@needs_root
def test_a_file_of_another_user(a_file: Tree) -> None:
    give(a_file.file)
    refuses(a_file.use, a_file.file, THEIRS)
    refuses(a_file.use, a_file.link(a_file.root / "link", a_file.file), THEIRS)


def test_a_file_that_others_can_write(a_file: Tree) -> None:
    for more in (0o020, 0o002):
        a_file.file.chmod(a_file.use.mode | more)
        refuses(a_file.use, a_file.file, "by its group or by others")


@pytest.mark.parametrize("name", ["private file", "TLS key"])
def test_a_secret_that_others_can_read(tmp_path: Path, name: str) -> None:
    tree = Tree(tmp_path, FILES[name])
    for more in (0o040, 0o004, 0o010, 0o001):
        tree.file.chmod(0o600 | more)
        refuses(tree.use, tree.file, "by its group or by others")


def test_a_directory_a_device_or_a_pipe_is_refused(a_file: Tree) -> None:
    refuses(a_file.use, a_file.two, "is not a regular file")
    refuses(a_file.use, Path("/"), "is not a regular file")
    refuses(a_file.use, Path("/dev/null"), "is not a regular file")
    pipe = a_file.two / "pipe"
    os.mkfifo(pipe, 0o700)
    # It is not waited for.
    refuses(a_file.use, pipe, "is not a regular file")


def test_descriptors_are_closed(everything: Tree) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    link = everything.link(everything.root / "link", everything.one)
    before = count()
    accepts(everything.use, link / "two" / "file")
    for directory in (everything.one, everything.two):
        directory.chmod(0o777)
        refuses(everything.use, link / "two" / "file", "can write")
        directory.chmod(0o755)
    with suppress(Error):
        everything.use.use(str(everything.two / "file" / "nothing" / "there"))
    assert count() == before


def test_the_working_directory_does_not_matter(everything: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = everything.root / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    accepts(everything.use, everything.file)


def test_a_relative_path(a_file: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(a_file.one)
    accepts(a_file.use, Path("two/file"))
    a_file.one.chmod(0o777)
    refuses(a_file.use, Path("two/file"), f'lies in the directory "{a_file.one}", which others can write')


# A file that is exchanged during the check


def _exchange_before(monkeypatch: pytest.MonkeyPatch, function: str, path: Path, other: Path) -> None:
    """Put another file in the place of one that was opened and checked, before it is used."""
    original = getattr(trusted_path, function)

    def opened(*arguments: object, **more: object) -> object:
        result = original(*arguments, **more)
        other.rename(path)
        return result

    monkeypatch.setattr(trusted_path, function, opened)


def test_getkey_runs_what_it_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path, FILES["getkey"])
    evil = tree.write(tree.two / "evil")
    evil.chmod(0o700)
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho {'66' * 32}\n")
    _exchange_before(monkeypatch, "open_to_run", tree.file, evil)
    assert getkey.run(str(tree.file)).decode().strip() == KEY
    assert not (tmp_path / "ran").exists()


def test_agent_reads_the_configuration_that_it_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path, FILES["agent.toml"])
    evil = tree.two / "evil"
    evil.write_text('socket = "/evil"\n')
    _exchange_before(monkeypatch, "open_to_read", tree.file, evil)
    assert settings.read(str(tree.file)) == settings.Settings(max_clients=5)


def test_private_files_and_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, function in (("private file", "open_private"), ("certificate", "open_to_read")):
        tree = Tree(tmp_path / name, FILES[name])
        evil = tree.two / "evil"
        evil.write_text("evil")
        with monkeypatch.context() as patch:
            _exchange_before(patch, function, tree.file, evil)
            # Each compares what it reads.
            result = tree.use.use(str(tree.file))
        assert result in (KEY.encode(), None)
        assert tree.file.read_text() == "evil"


def test_libraries_are_loaded_from_what_was_checked(tmp_path: Path) -> None:
    tree = Tree(tmp_path, FILES["library"])
    library = next(Path(path) for path in _loaded_files() if "/libm.so" in path or "/libc.so" in path)
    shutil.copy(library, tree.file)
    tree.file.chmod(0o644)
    name = pkcs11.library_name(str(tree.file))
    inode = tree.file.stat().st_ino
    assert pkcs11.library_name(str(tree.file)) == name
    # A link to it is the same library, which the dynamic loader must not initialize twice.
    assert pkcs11.library_name(str(tree.link(tree.two / "link", "file"))) == name
    evil = tree.two / "evil"
    evil.write_text("not a library")
    evil.rename(tree.file)
    ctypes.CDLL(name)
    assert inode in _loaded_inodes()
    # The file is another library now, and is loaded by another name.
    assert pkcs11.library_name(str(tree.file)) != name
    with pytest.raises(OSError, match=r"file too short|invalid ELF header"):
        ctypes.CDLL(pkcs11.library_name(str(tree.file)))


def _loaded_files() -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split(maxsplit=5)[5] for line in lines if line.count("/")]


def _loaded_inodes() -> set[int]:
    return {int(line.split()[4]) for line in Path("/proc/self/maps").read_text().splitlines()}


_EXCHANGE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
first, second = map(os.fsencode, sys.argv[1:])
def exchange():
    if libc.renameat2(-100, first, -100, second, 2):  # RENAME_EXCHANGE
        sys.exit(os.strerror(ctypes.get_errno()))
exchange()
print(flush=True)
while True:
    exchange()
"""


@contextmanager
def exchanging(first: Path, second: Path, as_other: bool) -> Iterator[None]:
    """Have another process exchange two files as often as it can."""
    # The other user may be unable to enter the directory of the virtual environment.
    arguments = [os.path.realpath(sys.executable), "-c", _EXCHANGE, str(first), str(second)]
    who: dict[str, Any] = {}
    if as_other:
        who = {"user": OTHER.pw_uid, "group": OTHER.pw_gid, "extra_groups": []}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd="/", **who) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "\n":
                pytest.skip("this file system cannot exchange files")
            yield
        finally:
            process.send_signal(signal.SIGKILL)


@needs_root
@pytest.mark.parametrize("whose", ["root", "theirs", "group"])
def test_a_script_is_exchanged_all_the_time(tmp_path: Path, whose: str) -> None:
    """The other user's script never runs: not even where root's own process exchanges it, by mistake."""
    # Not below a directory that only root can enter.
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    tree = Tree(tmp_path, FILES["getkey"])
    evil = tree.two / "evil"
    evil.write_text(f"#!/bin/sh\n: > {tmp_path}/ran\necho {'66' * 32}\n")
    give(evil, 0o755)
    if whose == "theirs":
        give(tree.two)
    elif whose == "group":
        give(tree.two, 0o775, group_only=True)
    seen = {"run": 0, "its owner": 0, "its directory": 0}
    with exchanging(tree.file, evil, as_other=whose != "root"):
        for _ in range(2000):
            try:
                assert getkey.run(str(tree.file)).decode().strip() == KEY
                seen["run"] += 1
            except GetkeyError as error:
                seen["its directory" if "lies in the directory" in error.message else "its owner"] += 1
            if min(seen["run"], seen["its owner"]) >= 100 or seen["its directory"] >= 100:
                break
    assert not (tmp_path / "ran").exists()
    if whose == "root":
        assert seen["run"] > 0
        assert seen["its owner"] > 0
    else:
        assert seen == {"run": 0, "its owner": 0, "its directory": 100}


def test_without_proc(tmp_path: Path) -> None:
    """Nothing is run that was not checked, where the kernel's names of descriptors are missing."""
    tree = Tree(tmp_path, FILES["getkey"])
    program = (
        "import sys\nfrom pgkeymgr.root_key import getkey\nfrom pgkeymgr.errors import GetkeyError\n"
        "try:\n    getkey.run(sys.argv[1])\nexcept GetkeyError as error:\n    print(error.message, error.hint)"
    )
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    arguments = ["unshare", "--mount", "sh", "-c", hidden, "sh", sys.executable, "-c", program, str(tree.file)]
    done = subprocess.run(arguments, env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this process may not make a mount namespace")
    assert "cannot be used, because /proc is not mounted Mount /proc." in done.stdout
