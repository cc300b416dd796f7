"""The getkey script, without a server: found, checked, run, read."""

import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import process_state
from hypothesis import given
from hypothesis import strategies as st
from pgkeymgr.errors import CanceledError, GetkeyError, RootKeyError
from pgkeymgr.root_key import LocalRootKey, fingerprint, getkey

KEY = "0123456789abcdef" * 4
OTHER_USER = 12345

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a getkey script, and returns its path."""

    def write(body: str, mode: int = 0o500) -> str:
        path = tmp_path / "getkey"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(mode)
        return str(path)

    return write


def test_search_order(tmp_path: Path) -> None:
    config = tmp_path / "etc" / "postgresql.conf"
    beside = tmp_path / "etc" / "pgkeymgr_getkey"
    shared = tmp_path / "share" / "extension" / "pgkeymgr_getkey"
    named = tmp_path / "named"
    for path in (config, beside, shared, named):
        path.parent.mkdir(parents=True, exist_ok=True)

    def find(**environment: str) -> str:
        return getkey.find(environment, str(config), str(tmp_path / "share"))

    with pytest.raises(RootKeyError) as none:
        find()
    assert none.value.hint is not None
    assert str(beside) in none.value.hint
    assert str(shared) in none.value.hint
    shared.touch()
    assert find() == str(shared)
    beside.touch()
    assert find() == str(beside)
    named.touch()
    assert find(PGKEYMGR_GETKEY=str(named)) == str(named)
    # No other script replaces a named script that is missing, since it could print another root key.
    with pytest.raises(GetkeyError, match="does not exist"):
        find(PGKEYMGR_GETKEY=str(tmp_path / "elsewhere"))
    with pytest.raises(GetkeyError, match="not an absolute path"):
        find(PGKEYMGR_GETKEY="named")
    # An empty variable is none. A dangling link is there, to be refused by what follows.
    assert find(PGKEYMGR_GETKEY="") == str(beside)
    beside.unlink()
    beside.symlink_to(tmp_path / "gone")
    assert find() == str(beside)
    with pytest.raises(GetkeyError, match="could not be read"):
        getkey.run(str(beside))


@pytest.mark.parametrize("mode", [0o500, 0o700, 0o755, 0o555])
def test_good_modes(script: Callable[..., str], mode: int) -> None:
    getkey.run(script("", mode))


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(0o400, "not executable"), (0o720, "written by its group"), (0o702, "by others"), (0o777, "by others")],
)
def test_bad_modes(script: Callable[..., str], mode: int, reason: str) -> None:
    with pytest.raises(GetkeyError, match=reason) as refused:
        getkey.run(script("", mode))
    assert refused.value.hint


@needs_root
def test_foreign_owner(script: Callable[..., str]) -> None:
    path = script("")
    os.chown(path, OTHER_USER, OTHER_USER)
    with pytest.raises(GetkeyError, match=f"belongs to user id {OTHER_USER}"):
        getkey.run(path)


def test_not_a_file_or_a_directory_for_all(script: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(GetkeyError, match="not a regular file"):
        getkey.run(str(tmp_path))
    path = script("")
    tmp_path.chmod(0o777)
    with pytest.raises(GetkeyError, match="which others can write"):
        getkey.run(path)
    tmp_path.chmod(0o777 | stat.S_ISVTX)
    getkey.run(path)


def test_output_is_taken_whole(script: Callable[..., str]) -> None:
    assert getkey.run(script("printf one; printf two")) == b"onetwo"
    # From a child that goes on for a moment after the script has closed its output.
    assert getkey.run(script("echo first; exec >&-; sleep 0.2")) == b"first\n"


@pytest.mark.parametrize(
    "body",
    [
        f"printf {KEY[:10]}; /bin/true; echo {KEY[10:]}",
        f"echo {KEY}; exec >&-; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done",
        f"(echo {KEY}) & wait",
    ],
    ids=["in pieces", "ends long after its output", "by a child"],
)
def test_output_in_its_own_time(script: Callable[..., str], body: str) -> None:
    assert getkey.run(script(body)).decode() == KEY + "\n"


def test_its_status_counts_after_it_has_closed_its_output(script: Callable[..., str]) -> None:
    with pytest.raises(GetkeyError, match="exited with status 3"):
        getkey.run(script(f"echo {KEY}; exec >&-; exit 3"))


def test_nothing_is_inherited(script: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    """It has no standard input to wait for, and what it writes to standard error goes nowhere."""
    assert getkey.run(script("cat; echo secret >&2; readlink /proc/self/fd/0")) == b"/dev/null\n"
    assert capfd.readouterr() == ("", "")


def test_no_file_and_no_ignored_signal_is_inherited(script: Callable[..., str]) -> None:
    """PostgreSQL's sockets and files are not always closed by exec, and Python ignores SIGPIPE."""
    # High, so that it is none that the shell itself opens.
    inheritable = fcntl.fcntl(0, fcntl.F_DUPFD, 100)
    try:
        assert os.get_inheritable(inheritable)
        output = getkey.run(
            script(f"[ -e /proc/self/fd/{inheritable} ] || echo closed; grep SigIgn /proc/self/status")
        )
    finally:
        os.close(inheritable)
    found = re.fullmatch(rb"closed\nSigIgn:\t(.*)\n", output)
    assert found
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert not int(found[1], 16) >> signal.SIGPIPE - 1 & 1


def test_the_script_inherits_itself_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "getkey"
    # The kernel adds what it is run as: ls lists that, too.
    path.write_text("#!/bin/ls /proc/self/fd\n")
    path.chmod(0o500)
    listed = getkey.run(str(path)).decode().split()
    # 4 is the directory that ls reads.
    assert listed == ["/proc/self/fd/3", "/proc/self/fd:", "0", "1", "2", "3", "4"]


@pytest.mark.parametrize("free", [3, 4, 5])
def test_any_descriptor(script: Callable[..., str], free: int) -> None:
    """Descriptor 3 is free for it, or something of this process."""
    path = script("for file in /proc/$$/fd/*; do readlink $file; done; exit 0")
    program = (
        "import os, sys\nfrom pgkeymgr.root_key import getkey\n"
        f"while os.open('/dev/zero', os.O_RDONLY) < {free}: pass\n"
        f"os.closerange({free}, 100)\n"
        "sys.stdout.buffer.write(getkey.run(sys.argv[1]))"
    )
    environment = {"PYTHONPATH": str(Path(getkey.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, path], env=environment, capture_output=True, text=True, check=True
    )
    opened = [name for name in done.stdout.split() if not name.startswith("pipe:")]
    # The second is the one that the shell has opened by the name of the first.
    assert sorted(opened) == sorted(["/dev/null", "/dev/null", path, path])


def test_the_script_finds_its_own_path(script: Callable[..., str]) -> None:
    path = script('echo "$0"; readlink -f "$0"')
    assert getkey.run(path).decode().split() == ["/proc/self/fd/3", path]
    Path(path).write_text(f"#!{sys.executable}\nfrom pathlib import Path\nprint(Path(__file__).resolve())\n")
    assert getkey.run(path).decode().split() == [path]


def test_the_script_can_be_a_program(tmp_path: Path) -> None:
    path = tmp_path / "getkey"
    shutil.copy("/bin/pwd", path)
    path.chmod(0o500)
    assert getkey.run(str(path)).decode().strip() == str(Path.cwd())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo {key}; exit 3", "exited with status 3"),
        ("echo {key}; kill -TERM $$", f"ended by signal {signal.SIGTERM.value}"),
        ("yes {key}", "printed more than 65536 bytes"),
    ],
)
def test_failures(script: Callable[..., str], body: str, reason: str) -> None:
    with pytest.raises(GetkeyError, match=reason) as failed:
        getkey.run(script(body.format(key=KEY)))
    assert KEY not in failed.value.message + str(failed.value.hint)


def test_no_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "getkey"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o500)
    with pytest.raises(GetkeyError, match="could not be run: No such file"):
        getkey.run(str(path))


def _is_alive(pid: int) -> bool:
    # A killed process stays a zombie until init, or its substitute, has reaped it.
    return process_state(pid) not in "ZX"


def _ends(pid: int) -> bool:
    """Return whether a process that was sent SIGKILL ends within the time in which it must."""
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        if time.monotonic() > deadline:
            return False
    return True


def test_time_out_kills_it_and_its_children(script: Callable[..., str], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    path = script(f"echo {KEY}; sleep 1000 & echo $$ $! > {pids}; wait")
    with pytest.raises(GetkeyError, match="did not answer in 3 seconds"):
        getkey.run(path, timeout=3)
    script_pid, child_pid = map(int, pids.read_text().split())
    assert _ends(script_pid)
    assert _ends(child_pid)


def test_cancel_kills_it(script: Callable[..., str], tmp_path: Path) -> None:
    started = tmp_path / "started"
    with pytest.raises(CanceledError):
        getkey.run(script(f"echo $$ > {started}; exec sleep 1000"), is_canceled=started.exists)
    assert not started.read_text().strip() or _ends(int(started.read_text()))


def test_a_child_left_behind_does_not_hold_it_up(script: Callable[..., str], tmp_path: Path) -> None:
    """Its output is what it printed until it ended, even if a child of it still has the pipe."""
    child = tmp_path / "child"
    path = script(f"sleep 1000 & echo $! > {child}; echo {KEY}")
    try:
        assert getkey.run(path, timeout=5).decode().strip() == KEY
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "text", [KEY, KEY + "\n", KEY.upper() + "\n", KEY + "\r\n", f"  {KEY}\t\n\n\n", f"{KEY}\n{'ff' * 32}\n"]
)
def test_parse(text: str) -> None:
    keys = getkey.parse(text.encode(), "getkey")
    assert keys[0] == bytes.fromhex(KEY)
    assert keys[1:] == ([b"\xff" * 32] if "ff" * 32 in text else [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "printed nothing"),
        ("\n \n", "printed nothing"),
        (KEY[1:], "63 characters on line 1"),
        (KEY + "0", "65 characters on line 1"),
        (KEY[:-1] + "g", "64 characters on line 1"),
        (f"{KEY}\n\n{KEY}", "0 characters on line 2"),
        (f"{KEY}\nkey: {KEY}", "69 characters on line 2"),
        ("0x" + KEY, "66 characters on line 1"),
        ("0" * 64, "zeros on line 1"),
        (f"{KEY}\n{'0' * 64}", "zeros on line 2"),
    ],
)
def test_parse_refuses(text: str, reason: str) -> None:
    with pytest.raises(GetkeyError, match=reason) as refused:
        getkey.parse(text.encode(), "getkey")
    assert KEY[:8] not in refused.value.message + str(refused.value.hint)


@given(output=st.binary(max_size=200))
def test_parse_survives_anything(output: bytes) -> None:
    try:
        keys = getkey.parse(output, "getkey")
    except GetkeyError:
        return
    assert all(len(key) == 32 and any(key) for key in keys)


def test_fingerprints() -> None:
    """Known answers: the databases that remember one must find it again."""
    keys = [bytes.fromhex(KEY), b"\x10" * 32]
    root_key = LocalRootKey(keys, "test")
    assert root_key.fingerprint == fingerprint(keys[0]) == "d3e0be7e7a60b67adde702e2c026bbc2"
    assert root_key.previous == ("bcfeb5264e5a18c35f29399ef36dacb2",)
    assert root_key.derive(1, 32, b"pgsodium") != LocalRootKey(keys[::-1], "").derive(1, 32, b"pgsodium")


def test_a_root_key_does_not_show_itself() -> None:
    import copy
    import pickle

    root_key = LocalRootKey([bytes.fromhex(KEY)], "test")
    assert KEY not in repr(root_key)
    assert repr(bytes.fromhex(KEY)) not in repr(root_key)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(root_key)
