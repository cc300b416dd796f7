"""Provider ``kmip``: root keys in objects of a KMIP server, which requires a client certificate.

``store`` registers a SecretData object with the root keys as text, and writes its uid into a file. With ``uids``
instead of ``file``, the provider reads existing objects, newest first: SymmetricKey objects of 256 bits, or
SecretData objects with root keys as text.

The connection is TLS. This module compares the server's certificate with the name of the host, because PyKMIP
itself does not.

Settings: ``host``; ``port`` (5696); ``cert`` and ``key``, the client's; ``ca``, the authority's certificate;
``file`` or ``uids``.

Source: https://docs.oasis-open.org/kmip/spec/v1.4/kmip-spec-v1.4.html
"""

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..crypto.kdf import KEY_BYTES
from ..errors import ProviderError
from .envelope import Envelope, encode
from .files import open_checked
from .guard import T, call_safely, import_extra, silence
from .kept import KeptInFile
from .plain import to_keys
from .settings import Settings

KIND = "kmip"
PORT = 5696
TIMEOUT_SECONDS = 10
NAME = "pgkeymgr root keys"


class _Where(NamedTuple):
    host: str
    port: int
    cert: str
    key: str
    ca: str


class _Server:
    def __init__(self, where: _Where, source: str) -> None:
        self._where = where
        self._source = source

    def protect(self, text: bytes) -> bytes:
        def register(client: Any) -> str:
            enums = import_extra("kmip.core.enums", KIND)
            objects = import_extra("kmip.pie.objects", KIND)
            uid: str = client.register(objects.SecretData(text, enums.SecretDataType.SEED, name=NAME))
            return uid

        return encode(KIND, {"uid": self._call(register)})

    def open(self, content: bytes) -> bytes:
        return self.get(Envelope(content, KIND, self._source).text("uid"))

    def get(self, uid: str) -> bytes:
        """Return the root keys of an object, as text."""

        def get(client: Any) -> bytes:
            found = client.get(uid)
            value: bytes = found.value
            if type(found).__name__ == "SecretData":
                return value
            if type(found).__name__ == "SymmetricKey" and len(value) == KEY_BYTES:
                return value.hex().encode() + b"\n"
            raise ProviderError(f'the KMIP object "{uid}" is neither SecretData nor a SymmetricKey of 256 bits')

        return self._call(get)

    def _call(self, work: Callable[[Any], T]) -> T:
        pie = import_extra("kmip.pie.client", KIND)
        # PyKMIP warns of missing configuration files, and at the level DEBUG it logs requests and answers.
        silence("kmip")

        def call() -> T:
            with self._client(pie) as client:
                return work(client)

        return call_safely(call, self._describe)

    @contextmanager
    def _client(self, pie: Any) -> Iterator[Any]:
        where = self._where
        client = pie.ProxyKmipClient(hostname=where.host, port=where.port, config_file=os.devnull)
        proxy = client.proxy
        protocol = import_extra("kmip.services.kmip_protocol", KIND)
        with open_checked(where.ca) as ca:
            context = ssl.create_default_context(cafile=ca)
        with open_checked(where.cert) as cert, open_checked(where.key, is_private=True) as key:
            context.load_cert_chain(cert, key)
        connections: list[ssl.SSLSocket] = []

        def connect() -> None:
            plain = socket.create_connection((where.host, where.port), TIMEOUT_SECONDS)
            try:
                proxy.socket = context.wrap_socket(plain, server_hostname=where.host)
            except BaseException:
                plain.close()
                raise
            connections.append(proxy.socket)
            proxy.protocol = protocol.KMIPProtocol(proxy.socket)

        # This replaces PyKMIP's own method, which accepts a certificate of any host.
        proxy.open = connect
        try:
            with client:
                yield client
        finally:
            # PyKMIP does not close the connection if the server has closed it first.
            for connection in connections:
                connection.close()

    def _describe(self, error: Exception) -> ProviderError:
        where = f"the KMIP server {self._where.host}, port {self._where.port}"
        reason = getattr(getattr(error, "reason", None), "name", None)
        if isinstance(error, TimeoutError):
            what = f"no answer in {TIMEOUT_SECONDS} seconds"
        elif isinstance(error, ssl.SSLCertVerificationError):
            what = "the server's certificate is not valid for this host and authority"
        elif isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
            what = os.strerror(error.errno) if error.errno > 0 else "unknown host name"
        elif isinstance(reason, str):
            # An error that the server has answered has a reason, such as ITEM_NOT_FOUND or PERMISSION_DENIED.
            what = reason
        else:
            what = type(error).__name__
        return ProviderError(
            f"{self._source}: {where} failed: {what}",
            hint="Check the settings host, port, cert, key and ca, and the uid of the object.",
        )


class Objects:
    """A provider that reads existing objects."""

    kind = KIND

    def __init__(self, server: _Server, uids: Sequence[str], source: str) -> None:
        """Initialize the provider.

        Args:
            server: the server that has the objects.
            uids: the uids of the objects, newest first.
            source: the place of the root keys, in words.
        """
        self._server = server
        self._uids = uids
        self.source = source

    def load(self) -> list[bytes]:
        """Return the root keys; see ``Provider.load``."""
        return to_keys(b"".join(self._server.get(uid).rstrip() + b"\n" for uid in self._uids), self.source)

    def store(self, keys: Sequence[bytes], replace: bool = False) -> None:
        """Refuse to store root keys, since the objects have another owner.

        Raises:
            ProviderError: always.
        """
        raise ProviderError(
            f"{self.source} are only read, not written", hint="To store root keys, use file instead of uids."
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile | Objects:
    """Return the provider; see ``open_provider``."""
    where = _Where(
        settings.text("host"),
        settings.port("port", PORT),
        settings.path("cert"),
        settings.path("key"),
        settings.path("ca"),
    )
    file, uids = settings.optional_path("file"), settings.optional_texts("uids")
    if (file is None) == (uids is None):
        raise settings.error("file", "or uids must be set, but not both")
    if uids is not None:
        source = f"the objects {', '.join(uids)} of the KMIP server {where.host}"
        return Objects(_Server(where, source), uids, source)
    assert file is not None
    source = f'the KMIP server {where.host}, in the object named in the file "{file}"'
    server = _Server(where, source)
    return KeptInFile(KIND, source, file, lambda: server)
