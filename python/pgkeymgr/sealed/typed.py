"""The conversion of a secret to bytes before it is sealed: a text gives the same bytes on every system."""

import unicodedata

from ..errors import DataError


def secret_bytes(secret: str | bytes) -> bytes:
    """Return the bytes of a secret.

    Text is normalised to NFC and encoded as UTF-8. On some systems an é is one character, on others an e with an
    accent, and both look the same. The same passphrase must open the same key on all systems.

    Args:
        secret: a text, or bytes, which are returned unchanged.

    Returns:
        Its bytes.

    Raises:
        DataError: the secret is neither text nor bytes, or the text is not Unicode.
    """
    if isinstance(secret, bytes):
        return secret
    if not isinstance(secret, str):
        raise DataError(f"a secret must be str or bytes, not {type(secret).__name__}")
    try:
        return unicodedata.normalize("NFC", secret).encode()
    except UnicodeEncodeError:
        # The error is raised below: this exception has the secret in it, and would be the context of the error.
        pass
    raise DataError("a secret has characters that are not Unicode: a lone surrogate")
