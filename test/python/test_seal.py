"""Sealed messages without a server: what seals them, what opens them, and the command ``pgkeymgr seal``."""

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pgkeymgr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from pgkeymgr.errors import ChallengeError, DataError, FingerprintError
from pgkeymgr.sealed import message
from pgkeymgr.sealed.message import Offer, check_offer, fingerprint, open_sealed, seal, sign_offer
from pgkeymgr.sealed.typed import secret_bytes

TOP = Path(__file__).parents[2]

CHALLENGE = bytes(range(64, 96))
SECRET_KEY = bytes(range(96, 128))
PUBLIC = bindings.crypto_scalarmult_base(SECRET_KEY)
SERVER_KEY, SIGNING_KEY = bindings.crypto_sign_seed_keypair(bytes(range(32)))
PIN = fingerprint(SERVER_KEY)
OFFER = sign_offer(PUBLIC, CHALLENGE, SIGNING_KEY)


def _opened(sealed: bytes) -> list[bytes]:
    return open_sealed(sealed, PUBLIC, SECRET_KEY, CHALLENGE)


def _flips(value: bytes) -> list[bytes]:
    """Return all that differ from a value in one bit."""
    number = int.from_bytes(value, "big")
    return [(number ^ 1 << bit).to_bytes(len(value), "big") for bit in range(8 * len(value))]


def test_vectors() -> None:
    """Made with cryptography's Ed25519, and by hand as libsodium says what a sealed box is."""
    assert SERVER_KEY.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert PIN == "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c"
    offer = sign_offer(bytes(range(32, 64)), CHALLENGE, SIGNING_KEY)
    assert offer.server_key == SERVER_KEY
    assert offer.signature.hex() == (
        "db81fb5b5ed896750dfb6665fa60a06ba20849964e42552538b1fb24815b0b22"
        "451dd3b9fcb4bcb5e1dd6e30ac6eddb7c871ea4439e64b0236ffddf3f9effb0a"
    )
    check_offer(offer, PIN)
    assert PUBLIC.hex() == "675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f"
    sealed = (
        "493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531de227c82bd6a1581a4b01bcbc79981fd8"
        "0f5090fc0ea010993b04e70de2ac00477396e3c26baaacfc7439bad27fd2efd2bdcce11feb4b26dfc9908552d8b860c4c94b"
    )
    assert _opened(bytes.fromhex(sealed)) == [b"old", b"", "né".encode()]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_round_trip(secrets: list[bytes]) -> None:
    sealed = seal(OFFER, PIN, secrets)
    assert _opened(sealed) == secrets
    assert len(sealed) == 48 + 32 + sum(4 + len(secret) for secret in secrets)
    assert not any(len(secret) > 3 and secret in sealed for secret in secrets)


def test_no_two_are_equal() -> None:
    assert seal(OFFER, PIN, [b"secret"]) != seal(OFFER, PIN, [b"secret"])


def test_every_flipped_bit_of_a_message_fails() -> None:
    for altered in _flips(seal(OFFER, PIN, [b"old", b"new"])):
        with pytest.raises(ChallengeError):
            _opened(altered)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_fail(sealed: bytes) -> None:
    with pytest.raises(ChallengeError):
        _opened(sealed)


def test_truncated() -> None:
    sealed = seal(OFFER, PIN, [b"secret"])
    for length in range(len(sealed)):
        with pytest.raises(ChallengeError):
            _opened(sealed[:length])


@pytest.mark.parametrize("part", Offer._fields)
def test_every_flipped_bit_of_an_offer_fails(part: str) -> None:
    for altered in _flips(getattr(OFFER, part)):
        with pytest.raises(FingerprintError):
            seal(OFFER._replace(**{part: altered}), PIN, [b"secret"])


@pytest.mark.parametrize("part", Offer._fields)
@pytest.mark.parametrize("change", [lambda part: part[:-1], lambda part: part + b"\0", lambda _: b""])
def test_wrong_lengths(part: str, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match=f"{part} must be (32|64) bytes long"):
        seal(OFFER._replace(**{part: change(getattr(OFFER, part))}), PIN, [b"secret"])


def test_a_pin_may_be_written_as_people_do() -> None:
    pairs = re.findall("..", PIN)
    for pin in (PIN.upper(), ":".join(pairs), " ".join(pairs)):
        check_offer(OFFER, pin)


@pytest.mark.parametrize("pin", ["", PIN[:-1], PIN[:-1] + "0", PIN + "00", "ключ", "0" * 64])
def test_another_pin(pin: str) -> None:
    with pytest.raises(
        FingerprintError, match=f"has the fingerprint {PIN}, and the pinned one is {pin}"
    ) as refused:
        seal(OFFER, pin, [b"hunter2"])
    assert refused.value.hint
    assert "Nothing was sent" in refused.value.hint
    assert "hunter2" not in repr(refused.value)


def test_a_forged_signature() -> None:
    """Somebody in between has an offer of their own, and names the server's key."""
    _, their_key = bindings.crypto_sign_seed_keypair(b"\1" * 32)
    theirs = sign_offer(PUBLIC, CHALLENGE, their_key)
    with pytest.raises(FingerprintError, match="has the fingerprint"):
        seal(theirs, PIN, [b"secret"])
    with pytest.raises(FingerprintError, match="not the server's"):
        seal(theirs._replace(server_key=SERVER_KEY), PIN, [b"secret"])


def test_a_signature_of_something_else() -> None:
    """Without the label, or with another, it does not count."""
    for label in (b"", b"pgkeymgr exchange offer, format 2\0"):
        signature = bindings.crypto_sign(label + PUBLIC + CHALLENGE, SIGNING_KEY)[:64]
        with pytest.raises(FingerprintError, match="not the server's"):
            check_offer(OFFER._replace(signature=signature), PIN)


def test_another_offer() -> None:
    sealed = seal(OFFER, PIN, [b"secret"])
    other_public, other_secret = bindings.crypto_box_keypair()
    with pytest.raises(ChallengeError):
        open_sealed(sealed, other_public, other_secret, CHALLENGE)
    for challenge in _flips(CHALLENGE):
        with pytest.raises(ChallengeError):
            open_sealed(sealed, PUBLIC, SECRET_KEY, challenge)


@pytest.mark.parametrize(
    "inner", [b"\0", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\2x", b"\0\0\0\1xy", b"\xff\xff\xff\xffx", b"\0\0\0\0\0"]
)
def test_malformed_inside(inner: bytes) -> None:
    with pytest.raises(DataError, match="malformed"):
        _opened(bindings.crypto_box_seal(CHALLENGE + inner, PUBLIC))


@pytest.mark.parametrize("inner", [b"", CHALLENGE[:-1], b"\0" * 32])
def test_another_challenge_inside(inner: bytes) -> None:
    with pytest.raises(ChallengeError):
        _opened(bindings.crypto_box_seal(inner, PUBLIC))


def test_too_long() -> None:
    longest = message.SEALED_BYTES_MAX - 48 - 32 - 4
    assert _opened(seal(OFFER, PIN, [b"x" * longest])) == [b"x" * longest]
    with pytest.raises(DataError, match="at most 65536 bytes long, not 65537"):
        seal(OFFER, PIN, [b"x" * (longest + 1)])
    with pytest.raises(DataError, match="at most 65536"):
        _opened(bytes(message.SEALED_BYTES_MAX + 1))


def test_the_same_passphrase_typed_on_another_system() -> None:
    assert secret_bytes("cafe\u0301") == secret_bytes("caf\u00e9") == b"caf\xc3\xa9"
    # Bytes are the caller's own business.
    assert secret_bytes("cafe\u0301".encode()) == b"cafe\xcc\x81"


@pytest.mark.parametrize("secret", ["hunter2\udc80", None, 7, ["hunter2"]])
def test_a_value_that_is_no_secret_is_refused(secret: str) -> None:
    """Nor is it in the error, or in what led to it."""
    with pytest.raises(DataError) as refused:
        secret_bytes(secret)
    assert refused.value.__context__ is None
    assert "hunter2" not in str(refused.value)


# The command.


COMMAND = [sys.executable, "-m", "pgkeymgr.command"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    "PYTHONPATH": str(TOP / "python"),
    "NO_COLOR": "1",
    "COLUMNS": "200",
}
PARTS = ["\\x" + part.hex() for part in OFFER]
SEAL = ["seal", *PARTS, "--fingerprint", PIN]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    command = ["setsid", "--wait", *COMMAND, *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True
    )


def run_on_terminal(arguments: Sequence[str], typed: Sequence[bytes]) -> tuple[int, str, str, str]:
    """Run it on a terminal of its own, and type an answer at each prompt.

    Args:
        arguments: of the command.
        typed: the answers, in the terminal's encoding.

    Returns:
        Its status, stdout and stderr, and what the terminal has shown.
    """
    master, slave = pty.openpty()
    shown = b""
    try:
        # stdin is the terminal for setsid to take it; what is asked for is asked on /dev/tty.
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *COMMAND, *arguments],
            env=ENVIRONMENT,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            for number, answer in enumerate(typed, start=1):
                while shown.count(b": ") < number:
                    ready, _, _ = select.select([master], [], [], 30)
                    assert ready, shown
                    shown += os.read(master, 1000)
                os.write(master, answer + b"\n")
            out, error = process.communicate(timeout=30)
        while select.select([master], [], [], 0)[0]:
            shown += os.read(master, 1000)
    finally:
        os.close(slave)
        os.close(master)
    return process.returncode, out.decode(), error.decode(), shown.decode()


@pytest.fixture
def secret_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Make a file with a secret in it."""

    def make(content: bytes) -> Path:
        path = tmp_path / f"secret{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return path

    return make


SecretFile = Callable[[bytes], Path]


def test_command_version() -> None:
    shown = run("--version")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"pgkeymgr {pgkeymgr.__version__}\n", "")


def test_command_help_and_completion() -> None:
    assert "seal" in run("--help").stdout
    command = ["env", "_PGKEYMGR_COMPLETE=source_bash", *COMMAND]
    script = subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True, text=True).stdout
    assert "complete -o default -F" in script
    assert "pgkeymgr" in script


@pytest.mark.parametrize("prefix", ["\\x", ""])
def test_command_with_files(secret_file: SecretFile, prefix: str) -> None:
    """They keep their order; a newline at the end is not of the secret; text is as if it were typed."""
    contents = [b"old\n", "cafe\u0301\r\n".encode(), b"two\nlines\n\n", b"", b" none "]
    files = [word for content in contents for word in ("--secret-file", str(secret_file(content)))]
    parts = [prefix + part.hex() for part in OFFER]
    done = run("seal", *parts, "--fingerprint", PIN, *files)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\\x[0-9a-f]+\n", done.stdout)
    assert _opened(bytes.fromhex(done.stdout[2:])) == [b"old", b"caf\xc3\xa9", b"two\nlines\n", b"", b" none "]


def test_command_with_exact_files(secret_file: SecretFile) -> None:
    key = bytes(range(246, 256)) + b"\n"
    done = run(*SEAL, "--exact", "--secret-file", secret_file(key))
    assert _opened(bytes.fromhex(done.stdout[2:])) == [key]
    refused = run(*SEAL, "--secret-file", secret_file(key))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "not UTF-8" in refused.stderr
    assert "--exact" in refused.stderr


@pytest.mark.parametrize("labels", [[], ["--label", "Old", "--label", "New"]])
def test_command_on_a_terminal(labels: list[str]) -> None:
    status, out, error, shown = run_on_terminal(
        [*SEAL, "--secrets", "2", *labels], [b"hunter2", "cafe\u0301".encode()]
    )
    assert (status, error) == (0, "")
    assert _opened(bytes.fromhex(out[2:])) == [b"hunter2", b"caf\xc3\xa9"]
    expected = ["Old: ", "New: "] if labels else ["Secret 1 of 2: ", "Secret 2 of 2: "]
    # Nothing is echoed.
    assert shown.split("\r\n") == [*expected, ""]


def test_command_asks_again() -> None:
    status, out, _, shown = run_on_terminal([*SEAL, "--confirm"], [b"hunter2", b"hunter2"])
    assert status == 0
    assert _opened(bytes.fromhex(out[2:])) == [b"hunter2"]
    assert shown == "Secret: \r\nSecret, again: \r\n"
    status, out, error, shown = run_on_terminal([*SEAL, "--confirm"], [b"hunter2", b"hunter3"])
    assert (status, out, error) == (1, "", "pgkeymgr: Secret: the two inputs differ\n")
    assert "hunter" not in shown


def test_command_with_what_is_not_text() -> None:
    status, out, error, shown = run_on_terminal(SEAL, [b"hunter2\xff"])
    assert (status, out) == (1, "")
    assert "not text" in error
    assert "Traceback" not in error
    assert "hunter2" not in error + shown


def test_command_without_a_terminal() -> None:
    """It does not read its secrets from stdin instead, nor show them."""
    done = run(*SEAL)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "pgkeymgr: could not ask for the secret: there is no terminal\n"
        "Put the secret into a file, and use --secret-file.\n"
    )


def test_command_checks_the_offer_before_it_asks() -> None:
    status, out, error, shown = run_on_terminal(["seal", *PARTS, "--fingerprint", "0" * 64], [])
    assert (status, out, shown) == (1, "", "")
    assert error.startswith(f"pgkeymgr: the server's exchange key has the fingerprint {PIN}, and the pinned")
    forged = ["\\x" + bytes(64).hex()]
    status, out, error, shown = run_on_terminal(["seal", *PARTS[:3], *forged, "--fingerprint", PIN], [])
    assert (status, out, shown) == (1, "", "")
    assert "not the server's" in error


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["seal", *PARTS[:3], "--fingerprint", PIN], 2, "(?i)missing argument"),
        (["seal", *PARTS], 2, "(?i)missing option"),
        (["seal", "\\337B", *PARTS[1:], "--fingerprint", PIN], 2, "invalid bytea value"),
        (["seal", "\\xabc", *PARTS[1:], "--fingerprint", PIN], 2, "invalid bytea value"),
        (["seal", "", *PARTS[1:], "--fingerprint", PIN], 1, "public must be 32 bytes long, not 0"),
        ([*SEAL, "--secrets", "0"], 2, "(?i)invalid value"),
        ([*SEAL, "--secrets", "3", "--label", "One"], 2, "--secrets is 3"),
        ([*SEAL, "--secret-file", "/dev/null", "--confirm"], 2, "--secret-file excludes"),
        ([*SEAL, "--exact"], 2, "--exact requires"),
        ([*SEAL, "--secret-file", "/nowhere/secret"], 1, "could not read /nowhere/secret: No such file"),
        ([*SEAL, "--secret-file", "/dev"], 1, "could not read /dev: Is a directory"),
        ([*SEAL, "--secret-file", "/dev/zero"], 1, "sealed must be at most 65536 bytes long"),
        (["unseal"], 2, "(?i)no such command"),
    ],
)
def test_command_refuses(arguments: list[str], status: int, text: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert re.search(text, " ".join(done.stderr.split()))
    assert "Traceback" not in done.stderr


def test_errors_name_no_secret(secret_file: SecretFile) -> None:
    done = run(*SEAL, "--secret-file", secret_file(b"hunter2" * 10000))
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
