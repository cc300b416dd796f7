"""Provider ``pkcs11``: root keys in a file, encrypted by an AES-256 key of a PKCS#11 token such as an HSM.

The token encrypts with AES-256-GCM, with a random nonce of 12 bytes, a tag of 16 bytes, and the format as
associated data. The key cannot leave the token. ``store`` generates the key if the token has no key of this label.
A call of the token's library cannot be canceled, and takes as long as the library waits.

Settings: ``module``, the token's library; ``token_label``; ``key_label`` ("pgkeymgr"); ``pin_file``, without which
a person is asked for the PIN; ``file``.

Sources: https://docs.oasis-open.org/pkcs11/pkcs11-curr/v3.0/pkcs11-curr-v3.0.html (CKM_AES_GCM), NIST SP 800-38D
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import Error, PassphraseError, ProviderError
from ..root_key import trusted_path
from .asking import ask_for
from .envelope import Envelope, associated_data, encode, to_base64
from .files import error_maker, open_library, read_line
from .guard import call_safely, import_extra
from .kept import KeptInFile
from .settings import Settings

if TYPE_CHECKING:
    import pkcs11

KIND = "pkcs11"
NONCE_BYTES = 12
TAG_BITS = 128
KEY_BITS = 256

_names: dict[tuple[int, int], str] = {}
"""The name under which each library was loaded, by the library's device and inode.

The name is the path of a descriptor that stays open until the process ends. The dynamic loader and python-pkcs11
remember names, and would confuse the library with another one that gets the same descriptor.
"""


def library_name(module: str) -> str:
    """Check a token's library, and return the name to load it under.

    The dynamic loader accepts only names, so it gets the name of the checked descriptor. A check after loading the
    library by its own path would be too late, because loading runs the library's code.

    Args:
        module: the path of the library.

    Returns:
        A path that leads to this very file until the process ends. It is the same path for every call.

    Raises:
        ProviderError: the library could not be read, or another user could have written or exchanged it.
    """
    descriptor = open_library(module)
    try:
        status = os.fstat(descriptor)
        which = status.st_dev, status.st_ino
        if which not in _names:
            _names[which] = trusted_path.descriptor_path(descriptor, error_maker("library", module))
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
            raise ProviderError(f"{self._source}: the file is damaged", hint="Restore the file from your copy.")

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

        return call_safely(call, lambda error: self._describe(library, error))

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
        # The search must be read to its end: an open search fails when the session is closed.
        return list(session.get_objects(template))

    def _key(self, library: Any, session: "pkcs11.Session") -> Any:
        keys = self._keys(library, session)
        if len(keys) != 1:
            how_many = "several AES keys" if keys else "no AES key"
            raise ProviderError(f'token "{self._token_label}" has {how_many} "{self._key_label}"')
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
        # The library's errors differ in their type, and have no text of their own.
        reason = type(error).__name__
        if isinstance(error, (library.PinIncorrect, library.PinInvalid, library.PinLenRange, UnicodeDecodeError)):
            return PassphraseError(
                f'wrong PIN for token "{self._token_label}"', hint="The token locks after several wrong PINs."
            )
        if isinstance(error, library.NoSuchToken):
            return ProviderError(f'token "{self._token_label}" does not exist ({self._module})')
        return ProviderError(
            f'token "{self._token_label}" failed: {reason}',
            hint=f'Check that the file was encrypted by the key "{self._key_label}" and was not altered, and that '
            "the token supports AES-GCM.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Return the provider; see ``open_provider``."""
    file = settings.path("file")
    module, pin_file = settings.path("module"), settings.optional_path("pin_file")
    token_label, key_label = settings.text("token_label"), settings.text("key_label", "pgkeymgr")
    source = f'the file "{file}", under the token "{token_label}"'

    def pin() -> bytes:
        if pin_file is not None:
            return read_line(pin_file)
        return ask_for(ask, f"PIN of the token {token_label}: ", source, "Set pin_file.")

    return KeptInFile(KIND, source, file, lambda: _Token(module, token_label, key_label, pin, source))
