"""Key providers for the tests, with real servers and tokens as far as they run on this machine.

PKCS#11 is SoftHSM2. KMIP is PyKMIP's own server, with TLS. AWS KMS is moto's server. Vault is a small HTTP server
in this file, which follows the documentation of the transit engine, and can fail in more ways than OpenBao.

Each failure is searched for the secrets, and so are the log and the output.
"""

import atexit
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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from certificates import make_ca, make_certificate
from cluster import Cluster
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pgkeymgr.errors import Error, ProviderError
from pgkeymgr.provider import Provider, open_provider
from test_getkey_scripts import SOFTHSM, free_port, service

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
    """Keeps all messages that reach the root logger."""

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


@cache
def _softhsm_tokens() -> tuple[str, list[str]]:
    """Make SoftHSM2's configuration and tokens for this process; return the file and the labels."""
    directory = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
    labels = [f"token {secrets.token_hex(4)}" for _ in range(32)]
    for label in labels:
        words = ["--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", PIN]
        environment = {**os.environ, "SOFTHSM2_CONF": str(configuration)}
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True, env=environment)
    return str(configuration), labels


@pytest.fixture(scope="module")
def softhsm() -> Iterator[Callable[[], str]]:
    """SoftHSM2 for this process, and a function that returns the label of a new token.

    The library is loaded once in a process, and PKCS#11 need not see tokens that are made after that. So all test
    files of a process share the tokens, which are made before.
    """
    configuration, labels = _softhsm_tokens()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", configuration)
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
