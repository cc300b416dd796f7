"""What becomes of a secret before it is sealed: text as bytes, the same ones wherever it was typed."""

import unicodedata

from ..errors import DataError


def secret_bytes(secret: str | bytes) -> bytes:
    """Return the bytes of a secret.

    Text is normalised to NFC and encoded as UTF-8. Keyboards and systems differ in whether an é is one character
    or an e with an accent, which nobody sees; and the same passphrase, typed on another system, is to open the
    same key.

    Args:
        secret: text, or bytes, which are taken as they are.

    Returns:
        Its bytes.

    Raises:
        DataError: it is neither, or it is text that is not Unicode.
    """
    if isinstance(secret, bytes):
        return secret
    if not isinstance(secret, str):
        raise DataError(f"a secret must be str or bytes, not {type(secret).__name__}")
    try:
        return unicodedata.normalize("NFC", secret).encode()
    except UnicodeEncodeError:
        # Raised below, since this exception has the secret in it, and would be that one's context.
        pass
    raise DataError("a secret has characters that are not Unicode: a lone surrogate")
