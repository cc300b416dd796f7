"""Provider ``passphrase``: root keys in a file, wrapped under a passphrase.

Argon2id derives the wrapping key from the passphrase, at libsodium's MODERATE limits or more. The wrap has the
layout of ``pgkeymgr.root_key.wrap``, and is bound to the format. The file has the limits in it, so that later
files can have higher ones.

Settings: ``file``.

Sources: RFC 9106 and https://doc.libsodium.org/password_hashing/default_phf
"""

from collections.abc import Callable

from ..errors import DataError, PassphraseError, ProviderError
from ..key.passphrase import Stretching
from ..root_key import wrap as wraps
from .asking import ask_for, ask_twice
from .envelope import Envelope, associated_data, encode, to_base64
from .kept import KeptInFile
from .settings import Settings

KIND = "passphrase"
PASSPHRASE_CHARACTERS_MIN = 12


class _Passphrase:
    def __init__(self, passphrase: bytes, source: str) -> None:
        self._passphrase = passphrase
        self._source = source

    def protect(self, text: bytes) -> bytes:
        stretching = Stretching.new()
        wrapped = wraps.wrap(text, associated_data(KIND), stretching.wrapping_key(self._passphrase))
        fields: dict[str, str | int] = {
            "salt": to_base64(stretching.salt),
            "opslimit": stretching.opslimit,
            "memlimit": stretching.memlimit,
            "wrapped": to_base64(wrapped),
        }
        return encode(KIND, fields)

    def open(self, content: bytes) -> bytes:
        envelope = Envelope(content, KIND, self._source)
        wrapped = envelope.binary("wrapped")
        stretching = Stretching(envelope.binary("salt"), envelope.number("opslimit"), envelope.number("memlimit"))
        try:
            wrapping_key = stretching.wrapping_key(self._passphrase)
        except DataError as error:
            raise ProviderError(
                f"{self._source}: {error.message}", hint="Restore the file from your copy."
            ) from None
        try:
            return wraps.unwrap(wrapped, associated_data(KIND), wrapping_key)
        except DataError:
            raise PassphraseError(
                f"wrong passphrase for {self._source}",
                hint="If the passphrase is right, the file was altered: restore it from your copy.",
            ) from None


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Return the provider; see ``open_provider``."""
    file = settings.path("file")
    source = f'the file "{file}", under a passphrase'

    def opening() -> _Passphrase:
        return _Passphrase(ask_for(ask, "Passphrase of the root key: ", source), source)

    def storing() -> _Passphrase:
        passphrase = ask_twice(ask, "New passphrase of the root key", source)
        if len(passphrase.decode(errors="replace")) < PASSPHRASE_CHARACTERS_MIN:
            raise DataError(
                f"a passphrase for the root key must be at least {PASSPHRASE_CHARACTERS_MIN} characters long",
                hint="Use several random words.",
            )
        return _Passphrase(passphrase, source)

    return KeptInFile(KIND, source, file, opening, storing)
