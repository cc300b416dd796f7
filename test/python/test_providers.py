"""Tests that all key providers with a file must pass, and tests of their settings."""

import base64
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import provider_services
import pytest
from pgkeymgr.errors import (
    DataError,
    GetkeyError,
    ParameterError,
    PassphraseError,
    ProviderError,
    ProviderTakenError,
)
from pgkeymgr.provider import AVAILABLE, guard, open_provider
from pgkeymgr.provider.files import FILE_BYTES_MAX
from pgkeymgr.provider.kept import KeptInFile
from pgkeymgr.provider.plain import KEYS_MAX
from pgkeymgr.root_key import getkey
from provider_services import (
    KEPT,
    KEYS,
    OTHER_KEY,
    OTHER_USER,
    PASSPHRASE,
    PIN,
    WRONG_PASSPHRASE,
    Logged,
    Made,
    assert_hidden,
    everything_of,
    fails,
    needs_root,
    types,
    write,
)

logged = provider_services.logged
plain_file = provider_services.plain_file
passphrase = provider_services.passphrase
softhsm = provider_services.softhsm
pkcs11 = provider_services.pkcs11
certificates = provider_services.certificates
kmip_port = provider_services.kmip_port
kmip_server = provider_services.kmip_server
moto = provider_services.moto
kms = provider_services.kms
transit = provider_services.transit
vault_server = provider_services.vault_server
kept = provider_services.kept


def test_the_search_of_the_log_finds(logged: Logged) -> None:
    logging.getLogger("some.library").debug("sent %r", KEYS[0])
    with pytest.raises(AssertionError):
        assert_hidden(logged.text)
    logged.text = ""
    guard.silence("silenced_here")
    logging.getLogger("silenced_here.below").setLevel(logging.DEBUG)
    logging.getLogger("silenced_here.below").debug("sent %r", KEYS[0])
    assert logged.text == ""


def test_the_search_finds() -> None:
    try:
        try:
            raise ValueError(KEYS[0])
        except ValueError:
            raise ProviderError("nothing to see") from None
    except ProviderError as error:
        with pytest.raises(AssertionError):
            assert_hidden(everything_of(error))
    for secret in (
        KEYS[1].hex(),
        base64.b64encode(KEYS[0]).decode(),
        f"{KEYS[0]!r}",
        f"x{PIN}y",
        repr(PASSPHRASE),
    ):
        with pytest.raises(AssertionError):
            assert_hidden(secret)


# The tests that all providers with a file must pass.


def test_kinds() -> None:
    assert list(AVAILABLE) == ["file", "passphrase", "command", "pkcs11", "kmip", "aws-kms", "vault"]


def test_store_and_load(kept: Made) -> None:
    fails(kept.open().load, "No such file")
    kept.open().store(KEYS)
    assert kept.open().load() == KEYS
    assert sorted(path.name for path in kept.file.parent.glob("root_key*")) == ["root_key"]
    if kept.settings["kind"] != "file":
        assert_hidden(kept.file.read_text())
    assert_hidden(kept.open().source)
    assert kept.open().kind == kept.settings["kind"]
    # None is lost: not this way, and not by a name that leads nowhere.
    before = kept.file.read_bytes()
    fails(lambda: kept.open().store([OTHER_KEY]), "already exists", ProviderTakenError)
    assert kept.file.read_bytes() == before
    # Nor if it is to be replaced.
    kept.open().store([OTHER_KEY, *KEYS], replace=True)
    assert kept.open().load() == [OTHER_KEY, *KEYS]
    assert kept.open(file=f"{kept.file}.old").load() == KEYS
    assert stat.S_IMODE(os.stat(f"{kept.file}.old").st_mode) == 0o600


def test_damaged_file(kept: Made) -> None:
    kept.open().store(KEYS)
    whole = kept.file.read_bytes()
    kind = kept.settings["kind"]
    for damaged in (b"", b"\xff" * 40, b"{" * 100_000, whole[:30], whole.replace(b"root key 1", b"root key 2")):
        if damaged != whole:
            write(kept.file, damaged)
            fails(kept.open().load, "damaged" if kind != "file" else "nothing|characters on line 1")
    write(kept.file, b"x" * (FILE_BYTES_MAX + 1))
    fails(kept.open().load, f"at most {FILE_BYTES_MAX} bytes")
    write(kept.file, whole)
    for mode in (0o640, 0o604, 0o620, 0o602, 0o610):
        kept.file.chmod(mode)
        fails(kept.open().load, "by its group or by others")
    kept.file.chmod(0o600)
    assert kept.open().load() == KEYS


@pytest.mark.parametrize("name", [name for name in KEPT if name != "plain_file"])
def test_altered_fields(request: pytest.FixtureRequest, name: str) -> None:
    """Each field of the file, missing, of another type, and altered."""
    made: Made = request.getfixturevalue(name)
    made.open().store(KEYS)
    fields = json.loads(made.file.read_text())
    reasons = {
        "passphrase": (PassphraseError, "wrong passphrase|out of range"),
        "pkcs11": (ProviderError, "failed|damaged"),
        "kmip_server": (ProviderError, "ITEM_NOT_FOUND"),
        "kms": (ProviderError, "InvalidCiphertext"),
        "vault_server": (ProviderError, "HTTP status 400"),
    }
    for field, value in fields.items():
        of_another_type: list[Any] = [None, [], {}, True, 1.5, "", 7 if isinstance(value, str) else "text"]
        for wrong in of_another_type:
            write(made.file, json.dumps({**fields, field: wrong}))
            fails(made.open().load, "damaged")
        if field in ("format", "kind"):
            write(made.file, json.dumps({**fields, field: value + "x"}))
            fails(made.open().load, "damaged")
            continue
        # Weaker limits are refused without trying.
        altered = value - 1 if isinstance(value, int) else altered_text(value)
        write(made.file, json.dumps({**fields, field: altered}))
        kind, reason = (ProviderError, "out of range") if isinstance(value, int) else reasons[name]
        fails(made.open().load, reason, kind)


def altered_text(text: str) -> str:
    """Change a character in the middle of base64, or a number."""
    if text.isdigit():
        return text + "000"
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


@needs_root
def test_files_of_others(plain_file: Made) -> None:
    plain_file.open().store(KEYS)
    os.chown(plain_file.file, OTHER_USER, OTHER_USER)
    fails(plain_file.open().load, f"belongs to user id {OTHER_USER}")
    # Root may renew what the agent's user has, and that user has it afterwards.
    plain_file.open().store([OTHER_KEY], replace=True)
    status = plain_file.file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (OTHER_USER, OTHER_USER, 0o600)


def test_a_directory_or_a_pipe_is_refused(plain_file: Made) -> None:
    plain_file.file.mkdir(mode=0o700)
    fails(plain_file.open().load, "not a regular file")
    plain_file.file.rmdir()
    # A pipe does not hold it up.
    os.mkfifo(plain_file.file, 0o600)
    fails(plain_file.open().load, "not a regular file")
    plain_file.file.unlink()
    plain_file.file.symlink_to("nowhere")
    fails(plain_file.open().load, "No such file")
    fails(lambda: plain_file.open().store(KEYS), "already exists", ProviderTakenError)
    fails(lambda: plain_file.open(file=str(plain_file.file.parent / "no" / "file")).store(KEYS), "No such file")


def test_keys_that_are_none(kept: Made) -> None:
    provider = kept.open()
    wrong: list[Sequence[Any]] = [[], [KEYS[0], b""], [KEYS[0][:31]], [bytes(32)], [KEYS[0].hex()], [None]]
    for keys in wrong:
        fails(partial(provider.store, keys), "root key", DataError)
    fails(lambda: provider.store(KEYS * KEYS_MAX), "has room for")
    assert not kept.file.exists()


@pytest.mark.parametrize("replace", [False, True])
def test_nobody_can_read_it_at_any_moment(tmp_path: Path, replace: bool) -> None:
    """During the verification, the new file is private under every umask, and the old file is in place."""
    seen: dict[str, int] = {}

    class Watching:
        def protect(self, text: bytes) -> bytes:
            return text

        def open(self, content: bytes) -> bytes:
            seen.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()})
            return content

    provider = KeptInFile("file", "the file", str(tmp_path / "root_key"), Watching)
    if replace:
        provider.store([OTHER_KEY])
    for mask in (0, 0o777):
        seen.clear()
        before = os.umask(mask)
        try:
            provider.store(KEYS, replace)
        finally:
            os.umask(before)
        assert any(name.endswith(".new") for name in seen)
        assert set(seen.values()) == {0o600}
        assert ("root_key" in seen) == replace
        if not replace:
            (tmp_path / "root_key").unlink()
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("replace", [False, True])
def test_not_switched_unless_it_opens(tmp_path: Path, replace: bool) -> None:
    file = tmp_path / "root_key"

    class Forgetful:
        def __init__(self, gives: bytes) -> None:
            self.gives = gives

        def protect(self, text: bytes) -> bytes:
            return text

        def open(self, content: bytes) -> bytes:
            return self.gives

    if replace:
        write(file, OTHER_KEY.hex())
    for gives, reason in ((OTHER_KEY.hex().encode(), "does not return"), (b"", "holds nothing")):
        provider = KeptInFile("file", "the file", str(file), partial(Forgetful, gives))
        fails(partial(provider.store, KEYS, replace), reason)
        assert [path.name for path in tmp_path.iterdir()] == (["root_key"] if replace else [])
        assert not replace or file.read_text() == OTHER_KEY.hex()


def test_a_file_of_another_process_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "root_key"

    class Late:
        def protect(self, text: bytes) -> bytes:
            return text

        def open(self, content: bytes) -> bytes:
            write(file, OTHER_KEY.hex())
            return content

    fails(
        lambda: KeptInFile("file", "the file", str(file), Late).store(KEYS), "already exists", ProviderTakenError
    )
    assert file.read_text() == OTHER_KEY.hex()
    assert [path.name for path in tmp_path.iterdir()] == ["root_key"]


def test_no_old_file_is_written_over(plain_file: Made) -> None:
    provider = plain_file.open()
    keys = [bytes([number]) * 32 for number in range(1, 5)]
    for key in keys:
        provider.store([key], replace=True)
    names = ["root_key.old", "root_key.old.2", "root_key.old.3", "root_key"]
    assert [(plain_file.file.parent / name).read_text().strip() for name in names] == [key.hex() for key in keys]


def test_nobody_types_a_passphrase_in_vain(passphrase: Made) -> None:
    """The provider refuses to replace a file before it asks."""
    passphrase.open().store(KEYS)
    asked: list[str] = []

    def ask(prompt: str) -> bytes:
        asked.append(prompt)
        return PASSPHRASE.encode()

    with pytest.raises(ProviderTakenError):
        Made(passphrase.settings, ask).open().store([OTHER_KEY])
    assert asked == []
    assert passphrase.open().load() == KEYS


# Settings.

REQUIRED = {
    "file": {"file": "/f"},
    "passphrase": {"file": "/f"},
    "command": {"script": "/s"},
    "pkcs11": {"module": "/m", "token_label": "t", "file": "/f"},
    "kmip": {"host": "h", "cert": "/c", "key": "/k", "ca": "/a", "file": "/f"},
    "aws-kms": {"key_id": "k", "file": "/f"},
    "vault": {"address": "https://v:8200", "key": "k", "file": "/f"},
}


@pytest.mark.parametrize("kind", REQUIRED)
def test_settings(kind: str) -> None:
    good: dict[str, Any] = {"kind": kind, **REQUIRED[kind]}
    assert open_provider(good).kind == kind
    for name, value in REQUIRED[kind].items():
        rest = {other: its for other, its in good.items() if other != name}
        fails(partial(open_provider, rest), f'"{name}" of the provider {kind} ', ParameterError)
        bad: list[Any] = [7, True, 1.5, [PIN], {"x": PIN}, "", "a\nb"]
        for wrong in [*bad, *(["relative"] if value[0] == "/" else [])]:
            changed = {**good, name: wrong}
            fails(partial(open_provider, changed), f'"{name}" of the provider', ParameterError)
    # The PIN is a secret in the wrong place.
    fails(lambda: open_provider({**good, "pin": PIN}), '"pin" of the provider .* is unknown', ParameterError)


def test_settings_of_some() -> None:
    def refused(kind: str, reason: str, **more: Any) -> None:
        fails(lambda: open_provider({"kind": kind, **REQUIRED.get(kind, {}), **more}), reason, ParameterError)

    refused("no", "no provider of this kind")
    fails(lambda: open_provider({"file": "/f"}), "has no kind", ParameterError)
    fails(lambda: open_provider({"kind": ["file"], "file": "/f"}), "no provider of this kind", ParameterError)
    for port in (0, 65536, -1, "5696", True):
        refused("kmip", '"port"', port=port)
    refused("kmip", "not both", uids=["1"])
    for uids in ([], [""], [1], "1"):
        refused("kmip", '"uids"', file=None, uids=uids)
    for address in (
        "http://vault:8200",
        "ftp://v",
        "v:8200",
        "https://",
        "https://v:x",
        "https://v:0",
        "http://[",
    ):
        refused("vault", '"address"', address=address)
        refused("aws-kms", '"endpoint_url"', endpoint_url=address)
    for address in (f"https://u:{PIN}@v", "https://v/v1", "https://v?x", "http://127.0.0.1.example.com"):
        refused("vault", '"address"', address=address)
    for address in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://vault/"):
        open_provider({"kind": "vault", **REQUIRED["vault"], "address": address})
    refused("vault", '"namespace"', namespace="ä")


@pytest.mark.parametrize(
    ("name", "module"), [("pkcs11", "pkcs11"), ("kmip_server", "kmip.pie.client"), ("kms", "boto3")]
)
def test_without_the_library(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    made: Made = request.getfixturevalue(name)
    made.open().store(KEYS)
    monkeypatch.setitem(sys.modules, module, None)
    extra = AVAILABLE[made.settings["kind"]].extra
    fails(made.open().load, rf'could not import {module}: .* pip install "pgkeymgr\[{extra}\]"')


def test_importing_needs_no_library() -> None:
    """Nor does it bring what a session of the server should not load."""
    code = (
        "import sys; from pgkeymgr.provider import AVAILABLE; import importlib\n"
        "[importlib.import_module(f'pgkeymgr.provider.{kind.module}') for kind in AVAILABLE.values()]\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"boto3", "botocore", "kmip", "pkcs11", "typer", "requests"} & set(done.stdout.split())


# A file, a script.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (KEYS[0].hex()[1:], "63 characters on line 1"),
        (f"{KEYS[0].hex()}\n{KEYS[1].hex()}0", "65 characters on line 2"),
        ("0" * 64, "root key of zeros on line 1"),
        (f"key={KEYS[0].hex()}", "68 characters"),
    ],
)
def test_file_holds_no_root_keys(plain_file: Made, text: str, reason: str) -> None:
    write(plain_file.file, text)
    fails(plain_file.open().load, reason)


def test_command(tmp_path: Path) -> None:
    script = tmp_path / "getkey"
    provider = open_provider({"kind": "command", "script": str(script)})
    fails(provider.load, "could not be read", GetkeyError)
    for body, reason in (
        (f"echo {KEYS[0].hex()}; exit 1", "exited with status 1"),
        (f"echo {KEYS[0].hex()}0", "printed 65 characters"),
        (f"echo {KEYS[0].hex()} >&2", "printed nothing"),
        ("echo " + "0" * 64, "printed a root key of zeros"),
    ):
        write(script, f"#!/bin/sh\n{body}\n", 0o500)
        fails(provider.load, reason, GetkeyError)
    write(script, f"#!/bin/sh\necho {KEYS[0].hex()}\necho {KEYS[1].hex()}\n", 0o500)
    assert provider.load() == KEYS
    fails(lambda: provider.store(KEYS, replace=True), "cannot store any")
    script.chmod(0o520)
    fails(provider.load, "can be written", GetkeyError)
    assert_hidden(provider.source)


def test_command_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = getkey.run
    monkeypatch.setattr(getkey, "run", lambda path: run(path, timeout=0.3))
    script = tmp_path / "getkey"
    write(script, "#!/bin/sh\nsleep 1000\n", 0o500)
    fails(open_provider({"kind": "command", "script": str(script)}).load, "did not answer", GetkeyError)


# A passphrase.


def test_passphrase(passphrase: Made) -> None:
    passphrase.open().store(KEYS)
    fields = json.loads(passphrase.file.read_text())
    assert fields["opslimit"] >= 3
    assert fields["memlimit"] >= 256 * 1024 * 1024
    wrong = passphrase._replace(ask=types(WRONG_PASSPHRASE))
    fails(wrong.open().load, "wrong passphrase", PassphraseError)
    fails(passphrase._replace(ask=None).open().load, "nobody")
    fails(passphrase._replace(ask=types("")).open().load, "empty", DataError)
    # Typed on a keyboard that composes its letters.
    composed = cast(Callable[[str], bytes], lambda prompt: PASSPHRASE.replace("ö", "o\u0308"))
    assert passphrase._replace(ask=composed).open().load() == KEYS


def test_new_passphrase(passphrase: Made) -> None:
    for typed, reason in (
        ((PASSPHRASE, WRONG_PASSPHRASE), "the two inputs differ"),
        (("too short",), "must be at least 12 characters long"),
        (("",), "empty"),
    ):
        made = passphrase._replace(ask=types(*typed))
        fails(partial(made.open().store, KEYS), reason, DataError)
    fails(lambda: passphrase._replace(ask=None).open().store(KEYS), "nobody")
    assert not passphrase.file.exists()


def test_guarded_errors_lead_nowhere() -> None:
    def leak() -> None:
        raise ValueError(KEYS[0].hex())

    with pytest.raises(ProviderError) as failed:
        guard.call_safely(leak, lambda error: ProviderError(f"failed: {type(error).__name__}"))
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None
