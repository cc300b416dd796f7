"""Splits a root key into SLIP-39 shares, prints a page for each, and reads them again.

SLIP-39 is Trezor's standard for Shamir's secret sharing, and their own library does the arithmetic. A root key of
32 bytes has shares of 33 words. The last 3 words are a checksum, which detects up to 3 mistyped words with
certainty. The shares of one split have a common identifier. There is one group, and no passphrase.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics, rs1024, wordlist

from ..crypto.kdf import KEY_BYTES
from ..errors import DataError, ParameterError
from ..root_key import fingerprint

WORDS = 33
THRESHOLD_MIN = 2
SHARES_MAX = 16

# The iterations of PBKDF2 slow down guesses of a passphrase, and there is no passphrase.
_ITERATION_EXPONENT = 0
_PASSPHRASE = b""
# The first four letters of each word are unique.
_PREFIX_LETTERS = 4
_EXTENDABLE_WORD, _EXTENDABLE_BIT = 1, 1 << 4
_COLUMNS = 3
_CUSTOMIZATION = {False: b"shamir", True: b"shamir_extendable"}


@dataclass(frozen=True)
class ReadShare:
    """A share that was read.

    Attributes:
        words: the words, separated by spaces.
        share: the decoded share.
        fingerprint: the fingerprint of the root key on the page, or None if the page has none.
    """

    words: str
    share: Share
    fingerprint: str | None

    @property
    def number(self) -> int:
        """The number of the share, from 1."""
        return int(self.share.index) + 1


def split(key: bytes, threshold: int, count: int) -> list[str]:
    """Split a root key into shares.

    Args:
        key: the root key, 32 bytes.
        threshold: the number of shares that recover the key, at least THRESHOLD_MIN.
        count: the number of shares, at least ``threshold`` and at most SHARES_MAX.

    Returns:
        The shares, WORDS words each.

    Raises:
        ParameterError: ``threshold`` or ``count`` is out of range.
        DataError: the shares do not recover the key. They are tried before anybody relies on them.
    """
    assert len(key) == KEY_BYTES
    if not THRESHOLD_MIN <= threshold <= count <= SHARES_MAX:
        raise ParameterError(
            f"cannot split the key so that {threshold} of {count} shares recover it",
            hint=f"Set --threshold to at least {THRESHOLD_MIN}, and --shares to at least --threshold and at most "
            f"{SHARES_MAX}.",
        )
    (shares,) = generate_mnemonics(
        group_threshold=1,
        groups=[(threshold, count)],
        master_secret=key,
        passphrase=_PASSPHRASE,
        extendable=True,
        iteration_exponent=_ITERATION_EXPONENT,
    )
    for some in (shares[:threshold], shares[-threshold:]):
        if combine_mnemonics(some, _PASSPHRASE) != key:
            raise DataError("the new shares do not recover the key", hint="Do not use these shares.")
    return list(shares)


def page(words: str, number: int, count: int, threshold: int, key_fingerprint: str, date: str) -> str:
    """Return the page to print for a share.

    Args:
        words: the words of the share.
        number: the number of the share, from 1.
        count: the number of shares.
        threshold: the number of shares that recover the key.
        key_fingerprint: the fingerprint of the root key.
        date: the date of the split.

    Returns:
        The text of the page.
    """
    numbered = [f"{place:2}. {word}" for place, word in enumerate(words.split(), 1)]
    height = -(-len(numbered) // _COLUMNS)
    lines = ["  ".join(f"{word:14}" for word in numbered[line::height]).rstrip() for line in range(height)]
    return (
        f"Share {number} of {count} of a root key of pgkeymgr\n\n"
        f"Any {threshold} of the {count} shares recover the root key. Fewer shares reveal nothing about it.\n"
        "Keep this share secret, and apart from the others.\n\n"
        f"Made:         {date}\n"
        f"Fingerprint:  {key_fingerprint}\n\n" + "\n".join(lines) + "\n\n"
        "To recover the key, run pgkeymgr escrow combine. The words are SLIP-39, without a passphrase.\n"
    )


def read(text: str, name: str) -> ReadShare:
    """Read a share, and check that it has no mistyped word.

    Args:
        text: a page, or only the words. The first 4 letters of each word are enough.
        name: the name of the share for error messages.

    Returns:
        The share.

    Raises:
        DataError: the text is not a share of a root key. The message names wrong words only by their numbers.
    """
    numbered = {
        int(number): word for number, word in re.findall(r"(?<![\w.])(\d{1,2})\. ([a-z]+)\b", text.lower())
    }
    typed = [numbered[number] for number in sorted(numbered)] or [
        word for word in re.split(r"[\s.,]+", text.lower()) if word and not word.isdigit()
    ]
    if numbered and sorted(numbered) != list(range(1, len(numbered) + 1)):
        raise DataError(f"some words of {name} are missing")
    indexes = [_index(word) for word in typed]
    unknown = [str(place) for place, index in enumerate(indexes, 1) if index is None]
    if unknown:
        raise DataError(
            f"{name} has words that are not in the SLIP-39 list: number {', '.join(unknown)}",
            hint="Compare these words with the page.",
        )
    if len(indexes) != WORDS:
        raise DataError(f"{name} has {len(indexes)} words instead of {WORDS}")
    known = [index for index in indexes if index is not None]
    words = " ".join(wordlist.words_from_indices(known))
    share = _parse(words)
    if share is None:
        suspect = _find_mistyped(known)
        raise DataError(
            f"{name} has a wrong checksum: a word is mistyped",
            hint=f"Compare word {suspect} with the page."
            if suspect
            else "More than one word is wrong. Compare all words with the page.",
        )
    if len(share.value) != KEY_BYTES or share.group_count != 1:
        raise DataError(f"{name} is a SLIP-39 share, but not of a root key of pgkeymgr")
    printed = re.search(r"fingerprint:?\s+([0-9a-f]{32})\b", text.lower())
    return ReadShare(words, share, printed[1] if printed else None)


def _index(word: str) -> int | None:
    if word in wordlist.WORDLIST:
        return int(wordlist.WORDLIST.index(word))
    # A longer word that is not in the list is mistyped, and is not an abbreviation.
    if len(word) != _PREFIX_LETTERS:
        return None
    found = [index for index, each in enumerate(wordlist.WORDLIST) if each.startswith(word)]
    return found[0] if len(found) == 1 else None


def _parse(words: str) -> Share | None:
    try:
        return Share.from_mnemonic(words)
    except MnemonicError:
        return None  # The text of the exception has some of the words.


def _find_mistyped(indexes: list[int]) -> int | None:
    """Return the number of the mistyped word, from 1, if the checksum is right with another word in its place.

    Any two shares differ in at least 4 words, so at most one word is found. Return None if there is no such word.
    """
    for place, present in enumerate(indexes):
        for other in range(len(wordlist.WORDLIST)):
            indexes[place] = other
            is_extendable = bool(indexes[_EXTENDABLE_WORD] & _EXTENDABLE_BIT)
            if rs1024.verify_checksum(indexes, _CUSTOMIZATION[is_extendable]):
                return place + 1
        indexes[place] = present
    return None


def check_belongs(read_now: ReadShare, before: Sequence[ReadShare], name: str) -> None:
    """Check that a share is a new share of the same split as the shares before it.

    Args:
        read_now: the share.
        before: the shares that were read before it.
        name: the name of the share for error messages.

    Raises:
        DataError: the share belongs to another split, or was given before.
    """
    for other in before:
        if other.share.group_parameters() != read_now.share.group_parameters():
            raise DataError(
                f"{name} and share {other.number} are not of the same split",
                hint="Shares of different splits cannot be combined, even if they are of the same key.",
            )
        if other.number == read_now.number:
            raise DataError(f"{name} is share {read_now.number}, which was given before")


def combine(shares: Sequence[ReadShare], expected: str | None) -> bytes:
    """Recover the root key from its shares.

    Args:
        shares: enough shares of one split.
        expected: the expected fingerprint of the root key, or None. The fingerprints on the pages are checked too.

    Returns:
        The root key, 32 bytes.

    Raises:
        DataError: there are too few shares, or they do not give a key with the expected fingerprint.
    """
    needed = shares[0].share.member_threshold if shares else THRESHOLD_MIN
    if len(shares) < needed:
        raise DataError(f"{len(shares)} shares were given, but {needed} are needed")
    key: bytes | None
    try:
        key = combine_mnemonics([share.words for share in shares[:needed]], _PASSPHRASE)
    except MnemonicError:
        key = None
    if key is None:
        raise DataError(
            "these shares do not give a key", hint="Check whether a share is of another split, or was forged."
        )
    found = fingerprint(key)
    for wanted in (expected, *(share.fingerprint for share in shares)):
        if wanted is not None and wanted != found:
            raise DataError(
                f"these shares give the root key {found}, but {wanted} was expected",
                hint="Nothing was written. Check whether the shares are of another key, and whether the "
                "fingerprint is mistyped.",
            )
    return key
