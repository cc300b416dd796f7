"""Shares of a root key: the words, and the commands ``pgkeymgr escrow``."""

import itertools
import json
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from installed import run
from pgkeymgr.command import shares as sharing
from pgkeymgr.errors import DataError, ParameterError
from pgkeymgr.root_key import fingerprint
from shamir_mnemonic import Share, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST
from test_seal import run_on_terminal

KEY = bytes(range(32))
PIN = fingerprint(KEY)

VECTOR = [
    "ajar indicate academic acid aquatic deploy ecology estate recover forward tadpole "
    "include ordinary hush findings undergo aunt multiple rapids game fluff camera "
    "human surprise enforce airline pink random hunting phrase shame senior cover",
    "ajar indicate academic agency alarm lair estate marathon holy froth math "
    "buyer quarter timely center dramatic fiber enemy angry divorce hawk quiet "
    "ceiling acid auction distance voice desert syndrome museum greatest license tendency",
    "ajar indicate academic always amuse gums fiber says peanut firm justice "
    "scramble genuine orange robin exhaust preach volume spit warn duckling album "
    "valuable amazing scene welcome body raspy aquatic leaves both vanish isolate",
]
"""Three shares of KEY, any two of which recover it. Every later version must be able to read them."""


def _read(shares: Sequence[str]) -> list[sharing.ReadShare]:
    return [sharing.read(words, "it") for words in shares]


def test_vector() -> None:
    assert PIN == "9d203c8c57140f78e6fbb0e2db0f200e"
    for some in itertools.combinations(VECTOR, 2):
        assert sharing.combine(_read(some), PIN) == KEY


@given(st.binary(min_size=32, max_size=32), st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_any_k_of_n(key: bytes, threshold: int, more: int) -> None:
    shares = sharing.split(key, threshold, threshold + more)
    for some in itertools.combinations(shares, threshold):
        assert sharing.combine(_read(some), None) == key
    for some in itertools.combinations(shares, threshold - 1):
        with pytest.raises(DataError, match=f"{threshold - 1} shares were given, but {threshold} are needed"):
            sharing.combine(_read(some), None)


def test_fewer_tell_nothing() -> None:
    """Where one share less is given out for enough, by a forged threshold, no key comes of it."""
    shares = _read(sharing.split(KEY, 3, 5))
    forged = [Share(**{**vars(one.share), "member_threshold": 2}).mnemonic() for one in shares[:2]]
    with pytest.raises(DataError, match="do not give a key"):
        sharing.combine(_read(forged), None)


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (0, 3), (4, 3), (2, 17)])
def test_impossible_thresholds_are_refused(threshold: int, count: int) -> None:
    with pytest.raises(ParameterError, match=f"{threshold} of {count} shares"):
        sharing.split(KEY, threshold, count)


def test_page() -> None:
    (words, *_) = VECTOR
    page = sharing.page(words, 2, 5, 3, PIN, "2026-11-25")
    assert "Share 2 of 5" in page
    assert "Any 3 of the 5" in page
    assert "2026-11-25" in page
    read = sharing.read(page, "it")
    assert (read.words, read.fingerprint) == (words, PIN)
    assert re.search(rf"^33\. {words.split()[-1]}$|\b33\. {words.split()[-1]}$", page, re.MULTILINE)
    with pytest.raises(DataError, match="some words of it are missing"):
        sharing.read(page.replace("17. ", "   "), "it")


def test_words_may_be_abbreviated() -> None:
    """The first four letters of each word are enough, in any case, numbered or not."""
    (words, *_) = VECTOR
    assert sharing.read(" ".join(word[:4].upper() for word in words.split()), "it").words == words
    typed = "\n".join(f"{number}. {word}" for number, word in enumerate(words.split(), 1))
    assert sharing.read(typed, "it").words == words


@pytest.mark.parametrize("place", [0, 1, 2, 7, 20, 32])
def test_a_mistyped_word(place: int) -> None:
    """Another word of the list in its place is found, and named by its number only."""
    words = VECTOR[0].split()
    wrong = next(word for word in WORDLIST[::97] if word != words[place])
    with pytest.raises(DataError, match="share 1 of 3 has a wrong checksum") as refused:
        sharing.read(" ".join([*words[:place], wrong, *words[place + 1 :]]), "share 1 of 3")
    assert refused.value.hint == f"Compare word {place + 1} with the page."


def test_more_mistyped_words() -> None:
    words = VECTOR[0].split()
    swapped = [words[1], words[0], *words[2:]]
    with pytest.raises(DataError, match="wrong checksum") as refused:
        sharing.read(" ".join(swapped), "it")
    assert refused.value.hint == "More than one word is wrong. Compare all words with the page."
    with pytest.raises(DataError, match=r"not in the SLIP-39 list: number 3, 5$") as unknown:
        sharing.read(" ".join([*words[:2], "hunter2x", words[3], "xyzzy", *words[5:]]), "it")
    assert "xyzzy" not in repr(unknown.value)


@pytest.mark.parametrize("text", ["", "academic", VECTOR[0].rpartition(" ")[0], f"{VECTOR[0]} academic"])
def test_a_wrong_number_of_words(text: str) -> None:
    with pytest.raises(DataError, match=r"it has \d+ words instead of 33"):
        sharing.read(text, "it")


def test_shares_of_something_else() -> None:
    groups = generate_mnemonics(1, [(2, 2), (2, 2)], KEY, b"", iteration_exponent=0)
    with pytest.raises(DataError, match="but not of a root key"):
        sharing.read(groups[0][0], "it")


def test_two_splits_do_not_mix() -> None:
    one, other = _read(VECTOR), _read(sharing.split(KEY, 2, 3))
    with pytest.raises(DataError, match="not of the same split"):
        sharing.check_belongs(other[1], one[:1], "it")
    with pytest.raises(DataError, match="which was given before"):
        sharing.check_belongs(one[0], one[:1], "it")
    sharing.check_belongs(one[1], one[:1], "it")
    # Where the identifiers are equal by chance, or by forgery, the digest in the shares tells.
    forged = Share(**{**vars(other[1].share), "identifier": one[0].share.identifier}).mnemonic()
    (read,) = _read([forged])
    sharing.check_belongs(read, one[:1], "it")
    with pytest.raises(DataError, match="do not give a key"):
        sharing.combine([one[0], read], None)


def test_another_fingerprint() -> None:
    with pytest.raises(DataError, match=f"give the root key {PIN}, but {'0' * 32} was expected"):
        sharing.combine(_read(VECTOR), "0" * 32)


# The commands.


@pytest.fixture
def getkey(tmp_path: Path) -> Path:
    """A getkey script that prints KEY, and a previous key."""
    script = tmp_path / "getkey"
    script.write_text(f"#!/bin/sh\necho {KEY.hex()}\necho {KEY[::-1].hex()}\n")
    script.chmod(0o500)
    return script


@pytest.fixture
def pages(tmp_path: Path, getkey: Path) -> list[Path]:
    """The pages of a split, three of five."""
    directory = tmp_path / "shares"
    done = run("escrow", "split", "--threshold", "3", "--shares", "5", "--getkey", getkey,
               "--output-directory", directory, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["fingerprint"] == PIN
    files = [Path(file) for file in document["files"]]
    assert sorted(directory.iterdir()) == files
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        # No word of a share goes where nobody asked for it.
        words = sharing.read(file.read_text(), "it").words
        assert words.split()[5] + " " not in done.stdout
        assert words not in done.stdout + done.stderr
    assert KEY.hex() not in done.stdout + done.stderr
    return files


def test_split_and_combine(pages: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "key"
    done = run("escrow", "combine", pages[4], pages[0], pages[2], "--output", output)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert PIN in done.stderr
    assert KEY.hex() not in done.stderr
    assert output.read_text() == KEY.hex() + "\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600

    again = run("escrow", "combine", *pages[:3], "--output", output)
    assert again.returncode == 1
    assert f"{output}: File exists" in again.stderr

    script = tmp_path / "script"
    assert run("escrow", "combine", *pages[:3], "--script", script, "--json").returncode == 0
    assert stat.S_IMODE(script.stat().st_mode) == 0o500
    split = run("escrow", "split", "--threshold", "2", "--shares", "2", "--getkey", script, "--stdout")
    texts = split.stdout.split("\f")
    assert sharing.combine([sharing.read(text, "it") for text in texts], PIN) == KEY
    assert run("escrow", "combine", *pages[:3], "--stdout").stdout == KEY.hex() + "\n"


def test_too_few_mixed_and_damaged_pages(pages: list[Path], tmp_path: Path, getkey: Path) -> None:
    output = tmp_path / "key"

    def refused(*files: Path, text: str, more: Sequence[str] = ()) -> None:
        done = run("escrow", "combine", *files, "--output", output, *more)
        assert (done.returncode, done.stdout) == (1, "")
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert not output.exists()

    refused(*pages[:2], text="2 shares were given, but 3 are needed")
    refused(*pages[:2], pages[0], text="which was given before")
    refused(*pages[:3], text="was expected", more=["--fingerprint", "0" * 32])
    other = tmp_path / "other"
    split = ["escrow", "split", "--threshold", "3", "--shares", "5", "--getkey", str(getkey)]
    assert run(*split, "--output-directory", other).returncode == 0
    refused(*pages[:2], other / "share-3-of-5.txt", text="not of the same split")
    # A split never writes over another one, nor leaves half of itself.
    (other / "share-1-of-5.txt").unlink()
    assert run(*split, "--output-directory", other).returncode == 1
    assert not (other / "share-1-of-5.txt").exists()
    text = pages[1].read_text()
    pages[1].write_text(re.sub(r" 9\. \w+", " 9. zzzz", text))
    refused(*pages[:3], text=f"{pages[1]} has words that are not in the SLIP-39 list: number 9")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as another user")
@pytest.mark.parametrize("whose", ["script", "directory", "directory above", "directory of a link"])
def test_getkey_is_run_as_the_user_who_could_exchange_it(whose: str) -> None:
    """With root's rights only if that is root alone."""
    user = pwd.getpwnam("daemon").pw_uid
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        (base / "above" / "directory").mkdir(parents=True)
        script = base / "above" / "directory" / "getkey"
        script.write_text(f"#!/bin/sh\n[ $(id -u) != 0 ] || exit 7\necho {KEY.hex()}\n")
        script.chmod(0o555)
        link = base / "links" / "link"
        link.parent.mkdir()
        link.symlink_to(script)
        path = link if whose == "directory of a link" else script
        words = ["escrow", "split", "--threshold", "2", "--shares", "3", "--stdout", "--getkey"]
        assert "exited with status 7" in run(*words, path).stderr
        places = {"script": script, "directory": script.parent, "directory above": script.parent.parent}
        os.chown(places.get(whose, link.parent), user, -1)
        done = run(*words, path)
        assert (done.returncode, done.stderr) == (0, "")
        assert PIN in done.stdout


def test_the_previous_key(tmp_path: Path, getkey: Path) -> None:
    split = ["escrow", "split", "--threshold", "2", "--shares", "2", "--getkey", str(getkey), "--stdout"]
    done = run(*split, "--fingerprint", fingerprint(KEY[::-1]))
    texts = done.stdout.split("\f")
    assert sharing.combine([sharing.read(text, "it") for text in texts], None) == KEY[::-1]
    assert "previous" in run(*split).stderr
    unknown = run(*split, "--fingerprint", "0" * 32)
    assert (unknown.returncode, unknown.stdout) == (1, "")


def test_wrong_usage(getkey: Path, tmp_path: Path) -> None:
    split = ["escrow", "split", "--threshold", "2", "--shares", "3"]
    for arguments in (
        [*split, "--getkey", str(getkey)],  # where to, without a terminal
        [*split, "--getkey", str(getkey), "--stdout", "--json"],
        [*split, "--getkey", str(getkey), "--set", "a=b", "--stdout"],
        ["escrow", "combine", str(getkey)],
        ["escrow", "combine", str(getkey), "--stdout", "--output", str(tmp_path / "key")],
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
    refused = run("escrow", "split", "--threshold", "3", "--shares", "2", "--getkey", getkey, "--stdout")
    assert (refused.returncode, refused.stdout) == (2, "")
    getkey.chmod(0o522)
    done = run(*split, "--getkey", getkey, "--stdout")
    assert (done.returncode, done.stdout) == (1, "")
    assert "can be written by its group" in done.stderr


def test_on_a_terminal(tmp_path: Path) -> None:
    """A share that is mistyped, or belongs to another split, is asked for again; no input is echoed."""
    wrong = VECTOR[0].replace(VECTOR[0].split()[8], "academic")
    stranger = sharing.split(KEY, 2, 2)[1]
    output = tmp_path / "key"
    status, out, error, shown = run_on_terminal(
        ["escrow", "combine", "--output", str(output), "--fingerprint", PIN],
        [line.encode() for line in (wrong, VECTOR[0], stranger, VECTOR[2])],
    )
    assert (status, out) == (0, ""), error
    assert "Compare word 9 with the page" in error
    assert "not of the same split" in error
    assert output.read_text() == KEY.hex() + "\n"
    assert shown.split("\r\n") == [
        *["Share 1 of ?, its 33 words: "] * 2,
        *["Share 2 of 2, its 33 words: "] * 2,
        "",
    ]


def test_a_typed_key(tmp_path: Path) -> None:
    split = ["escrow", "split", "--threshold", "2", "--shares", "2", "--stdout"]
    status, out, _, shown = run_on_terminal(split, [KEY.hex().encode()])
    assert status == 0
    assert sharing.combine([sharing.read(text, "it") for text in out.split("\f")], PIN) == KEY
    assert KEY.hex() not in shown + out
    status, out, error, _ = run_on_terminal(split, [KEY.hex().encode()[1:]])
    assert (status, out) == (1, "")
    assert KEY.hex()[1:] not in error
