"""Provider ``vault``: root keys in a file, encrypted by a key of HashiCorp Vault's or OpenBao's transit engine.

The provider makes two requests of the HTTP API, through Python's own library. It follows no redirect and uses no
proxy, since each request has the token in it.

Settings: ``address``; ``key``; ``mount`` ("transit"); ``token_file``, without which $VAULT_TOKEN has the token;
``ca``, the authority's certificate; ``namespace``; ``file``.

Sources: https://openbao.org/api-docs/secret/transit and
https://developer.hashicorp.com/vault/api-docs/secret/transit
"""

import base64
import http.client
import json
import os
import re
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote

from ..errors import ProviderError
from .envelope import Envelope, encode, to_base64
from .files import FILE_BYTES_MAX, open_checked, read_line
from .guard import call_safely
from .kept import KeptInFile
from .settings import Settings

KIND = "vault"
PORT = 8200
TIMEOUT_SECONDS = 10
ANSWER_BYTES_MAX = 4 * FILE_BYTES_MAX

_CIPHERTEXT = re.compile(r"vault:v[1-9][0-9]*:[A-Za-z0-9+/=_-]+")
_TOKEN = re.compile(rb"[!-~]+")
_REASONS = {
    400: "Check that the file was encrypted by this key and was not altered.",
    403: "Check that the token is valid and that its policy allows the request.",
    404: "Check the settings mount and key.",
    429: "The server is a standby or limits requests. Set address to the active node, or try again later.",
    472: "The server is a disaster recovery standby. Set address to the active node.",
    473: "The server is a performance standby. Set address to the active node.",
    503: "The server is sealed or in maintenance. Unseal it, or try again later.",
}


class _Where(NamedTuple):
    address: SplitResult
    mount: str
    key: str
    namespace: str | None
    ca: str | None


class _Transit:
    def __init__(self, where: _Where, token_file: str | None, source: str) -> None:
        self._where = where
        self._token_file = token_file
        self._source = source

    def protect(self, text: bytes) -> bytes:
        ciphertext = self._request("encrypt", {"plaintext": to_base64(text)}, "ciphertext")
        if not _CIPHERTEXT.fullmatch(ciphertext):
            raise self._failure("unexpected response from the transit engine")
        return encode(KIND, {"ciphertext": ciphertext})

    def open(self, content: bytes) -> bytes:
        ciphertext = Envelope(content, KIND, self._source).text("ciphertext")
        plaintext = self._request("decrypt", {"ciphertext": ciphertext}, "plaintext")
        return call_safely(
            lambda: base64.b64decode(plaintext, validate=True),
            lambda error: self._failure("unexpected response from the transit engine"),
        )

    def _failure(self, what: str, hint: str | None = None) -> ProviderError:
        return ProviderError(f"{self._source}: {self._where.address.geturl()} failed: {what}", hint=hint)

    def _token(self) -> str:
        if self._token_file is not None:
            token = read_line(self._token_file)
        else:
            token = os.environ.get("VAULT_TOKEN", "").encode("utf-8", "surrogateescape")
        if not token:
            raise self._failure("there is no token", "Set token_file, or the environment variable VAULT_TOKEN.")
        # An error of http.client would show a malformed token.
        if not _TOKEN.fullmatch(token):
            raise self._failure("the token has invalid characters", "Check the token file or VAULT_TOKEN.")
        return token.decode("ascii")

    def _connection(self) -> http.client.HTTPConnection:
        address = self._where.address
        assert address.hostname is not None
        port = address.port or PORT
        if address.scheme == "http":
            return http.client.HTTPConnection(address.hostname, port, timeout=TIMEOUT_SECONDS)
        if self._where.ca is None:
            context = ssl.create_default_context()
        else:
            with open_checked(self._where.ca) as ca:
                context = ssl.create_default_context(cafile=ca)
        return http.client.HTTPSConnection(address.hostname, port, timeout=TIMEOUT_SECONDS, context=context)

    def _request(self, operation: str, body: dict[str, str], wanted: str) -> str:
        where = self._where
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true", "Content-Type": "application/json"}
        if where.namespace is not None:
            headers["X-Vault-Namespace"] = where.namespace
        path = f"/v1/{quote(where.mount)}/{operation}/{quote(where.key, safe='')}"

        def call() -> tuple[int, bytes]:
            connection = self._connection()
            try:
                connection.request("POST", path, json.dumps(body).encode(), headers)
                answer = connection.getresponse()
                return answer.status, answer.read(ANSWER_BYTES_MAX)
            finally:
                connection.close()

        status, content = call_safely(call, self._describe)
        if status != http.client.OK:
            # The text of the answer is not shown, since it may repeat the request.
            raise self._failure(f"HTTP status {status}", _REASONS.get(status))

        def read() -> str:
            answer: Any = json.loads(content)["data"][wanted]
            if not isinstance(answer, str):
                raise TypeError
            return answer

        return call_safely(read, lambda error: self._failure("unexpected response from the transit engine"))

    def _describe(self, error: Exception) -> ProviderError:
        if isinstance(error, TimeoutError):
            return self._failure(f"no answer in {TIMEOUT_SECONDS} seconds")
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._failure(
                "the server's certificate is not valid for this address and authority",
                "Check the settings address and ca.",
            )
        if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
            return self._failure(os.strerror(error.errno) if error.errno > 0 else "unknown host name")
        return self._failure(type(error).__name__)


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Return the provider; see ``open_provider``."""
    file, address = settings.path("file"), settings.address("address")
    key, mount = settings.text("key"), settings.text("mount", "transit").strip("/")
    namespace, ca = settings.optional_text("namespace"), settings.optional_path("ca")
    if namespace is not None and not namespace.isascii():
        raise settings.error("namespace", "must be ASCII")
    source = f'the file "{file}", under the transit key "{key}"'
    transit = _Transit(_Where(address, mount, key, namespace, ca), settings.optional_path("token_file"), source)
    return KeptInFile(KIND, source, file, lambda: transit)
