"""Provider ``pkcs11``: root keys in a file, encrypted by an AES-256 key of a PKCS#11 token: an HSM, say.

The token does AES-256-GCM, with a random nonce of 12 bytes, a tag of 16, and the format as associated data; its
key cannot leave it. ``store`` makes that key if the token has none of its label. A call of the token's library
cannot be stopped: how long it waits is the library's own affair.

Settings: ``module``, the token's library; ``token_label``; ``key_label`` ("pgkeymgr"); ``pin_file``, or somebody
is asked; ``file``.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import Error, PassphraseError, ProviderError
from ..root_key import trusted_path
from .asking import ask_for
from .envelope import Envelope, associated_data, encode, to_base64
from .files import open_library, read_line, refuser
from .guard import guarded, import_extra
from .kept import KeptInFile
from .settings import Settings

if TYPE_CHECKING:
    import pkcs11

KIND = "pkcs11"
NONCE_BYTES = 12
TAG_BITS = 128
KEY_BITS = 256

_names: dict[tuple[int, int], str] = {}
"""Of each library that was loaded, by its device and inode, the name that it was loaded under.

It is the path of a descriptor that stays open for good: the dynamic loader and python-pkcs11 both remember names,
and would take another library that gets the same descriptor for this one.
"""


def library_name(module: str) -> str:
    """Check a token's library, and return the name to load it under.

    The dynamic loader takes only names, so it is given that of the descriptor which was checked. To load the
    library by its own path, and then to compare what was loaded, would be too late: loading runs its code.

    Args:
        module: the library's path.

    Returns:
        A path that leads to this very file as long as this process lives; the same one each time.

    Raises:
        ProviderError: it cannot be read, or somebody else could have written or exchanged it.
    """
    descriptor = open_library(module)
    try:
        status = os.fstat(descriptor)
        which = status.st_dev, status.st_ino
        if which not in _names:
            _names[which] = trusted_path.descriptor_path(descriptor, refuser("library", module))
            descriptor = -1
        return _names[which]
    finally:
        if descriptor >= 0:
            os.close(descriptor)


class _Token:
    def __init__(
        self, module: str, token_label: str, key_label: str, pin: Callable[[], bytes], source: str
    ) -> None:
        self._module = module
        self._token_label = token_label
        self._key_label = key_label
        self._ask_pin = pin
        self._pin: bytes | None = None
        self._source = source

    def protect(self, text: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._run(lambda library, session: self._encrypt(library, session, text, nonce), rw=True)
        return encode(KIND, {"nonce": to_base64(nonce), "ciphertext": to_base64(ciphertext)})

    def open(self, content: bytes) -> bytes:
        envelope = Envelope(content, KIND, self._source)
        nonce, ciphertext = envelope.binary("nonce"), envelope.binary("ciphertext")
        if len(nonce) != NONCE_BYTES or len(ciphertext) <= TAG_BITS // 8:
            raise ProviderError(f"{self._source}: its file is damaged", hint="Bring back your copy.")

        def decrypt(library: Any, session: "pkcs11.Session") -> bytes:
            key = self._key(library, session)
            parameters = library.GCMParams(nonce, associated_data(KIND), TAG_BITS)
            text: bytes = key.decrypt(ciphertext, mechanism=library.Mechanism.AES_GCM, mechanism_param=parameters)
            return text

        return self._run(decrypt, rw=False)

    def _run(self, work: Callable[[Any, "pkcs11.Session"], bytes], rw: bool) -> bytes:
        library = import_extra("pkcs11", "pkcs11")
        name = library_name(self._module)
        if self._pin is None:
            self._pin = self._ask_pin()
        pin = self._pin

        def call() -> bytes:
            with self._session(library, name, pin, rw) as session:
                return work(library, session)

        return guarded(call, lambda error: self._describe(library, error))

    @contextmanager
    def _session(self, library: Any, name: str, pin: bytes, rw: bool) -> Iterator["pkcs11.Session"]:
        token = library.lib(name).get_token(token_label=self._token_label)
        with token.open(rw=rw, user_pin=pin.decode()) as session:
            yield session

    def _keys(self, library: Any, session: "pkcs11.Session") -> list[Any]:
        template = {
            library.Attribute.CLASS: library.ObjectClass.SECRET_KEY,
            library.Attribute.KEY_TYPE: library.KeyType.AES,
            library.Attribute.LABEL: self._key_label,
        }
        # To the end: a search that is left open fails when the session is closed.
        return list(session.get_objects(template))

    def _key(self, library: Any, session: "pkcs11.Session") -> Any:
        keys = self._keys(library, session)
        if len(keys) != 1:
            how_many = "several AES keys" if keys else "no AES key"
            raise ProviderError(f'the token "{self._token_label}" has {how_many} "{self._key_label}"')
        return keys[0]

    def _encrypt(self, library: Any, session: "pkcs11.Session", text: bytes, nonce: bytes) -> bytes:
        if not self._keys(library, session):
            session.generate_key(
                library.KeyType.AES,
                KEY_BITS,
                label=self._key_label,
                store=True,
                capabilities=library.MechanismFlag.ENCRYPT | library.MechanismFlag.DECRYPT,
                template={library.Attribute.SENSITIVE: True, library.Attribute.EXTRACTABLE: False},
            )
        key = self._key(library, session)
        parameters = library.GCMParams(nonce, associated_data(KIND), TAG_BITS)
        ciphertext: bytes = key.encrypt(text, mechanism=library.Mechanism.AES_GCM, mechanism_param=parameters)
        return ciphertext

    def _describe(self, library: Any, error: Exception) -> Error:
        # The library's errors are told apart by their type, and have no text of their own.
        reason = type(error).__name__
        if isinstance(error, (library.PinIncorrect, library.PinInvalid, library.PinLenRange, UnicodeDecodeError)):
            return PassphraseError(
                f'wrong PIN for the token "{self._token_label}"', hint="A token locks itself after a few of them."
            )
        if isinstance(error, library.NoSuchToken):
            return ProviderError(f'there is no token "{self._token_label}" ({self._module})')
        return ProviderError(
            f'the token "{self._token_label}" fails: {reason}',
            hint=f'Its key "{self._key_label}" must be the one the file was made with, and do AES-GCM; '
            "or the file was altered.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Make the provider; see ``open_provider``."""
    file = settings.path("file")
    module, pin_file = settings.path("module"), settings.optional_path("pin_file")
    token_label, key_label = settings.text("token_label"), settings.text("key_label", "pgkeymgr")
    source = f'the file "{file}", under the token "{token_label}"'

    def pin() -> bytes:
        if pin_file is not None:
            return read_line(pin_file)
        return ask_for(ask, f"PIN of the token {token_label}: ", source, "Name a pin_file.")

    return KeptInFile(KIND, source, file, lambda: _Token(module, token_label, key_label, pin, source))
