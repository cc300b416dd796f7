"""What blind indexes take for the same."""

NORMALIZATIONS = ("none", "casefold", "digits")


def normalized(text: str, normalize: str) -> str:
    """Normalize a text.

    Args:
        text: any.
        normalize: ``none``; ``casefold``, after which texts that differ in case, or in how Unicode composes
            their characters, are the same; ``digits``, which leaves the digits 0 to 9 only.

    Returns:
        The normalized text.
    """
    if normalize == "digits":
        return "".join(character for character in text if character in "0123456789")
    if normalize == "casefold":
        from unicodedata import normalize as unicode

        return unicode("NFC", unicode("NFC", text).casefold())
    return text
