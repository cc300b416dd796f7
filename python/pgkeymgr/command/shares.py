"""Shares of a root key: SLIP-39 words, the page that each is printed on, and how they are read again.

SLIP-39 is Trezor's standard for Shamir's secret sharing; their own library does the arithmetic. A root key of
32 bytes gives shares of 33 words, the last 3 of which are a checksum: up to 3 mistyped words are always noticed.
The shares of one split have an identifier in common. There is one group, and no passphrase.
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

# PBKDF2 would slow down who guesses a passphrase, and there is none.
_ITERATION_EXPONENT = 0
_PASSPHRASE = b""
# No two words have the same first letters.
_PREFIX_LETTERS = 4
_EXTENDABLE_WORD, _EXTENDABLE_BIT = 1, 1 << 4
_COLUMNS = 3
_CUSTOMIZATION = {False: b"shamir", True: b"shamir_extendable"}


@dataclass(frozen=True)
class Read:
    """A share that was read.

    Attributes:
        words: its words, separated by a space.
        share: what they say.
        fingerprint: of the root key, as the page has it, or None.
    """

    words: str
    share: Share
    fingerprint: str | None

    @property
    def number(self) -> int:
        """Which share it is, from 1."""
        return int(self.share.index) + 1


def split(key: bytes, threshold: int, count: int) -> list[str]:
    """Make shares of a root key.

    Args:
        key: 32 bytes.
        threshold: how many shares give the key, at least 2.
        count: how many are made, at most SHARES_MAX.

    Returns:
        The shares, WORDS words each.

    Raises:
        ParameterError: there are fewer shares than are needed, or too many.
        DataError: the shares do not give the key; this is checked before anybody relies on them.
    """
    assert len(key) == KEY_BYTES
    if not THRESHOLD_MIN <= threshold <= count <= SHARES_MAX:
        raise ParameterError(
            f"{threshold} of {count} shares cannot be made",
            hint=f"--threshold is {THRESHOLD_MIN} or more, --shares at least that, and at most {SHARES_MAX}.",
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
            raise DataError("the shares that were made do not give the key: do not use them")
    return list(shares)


def page(words: str, number: int, count: int, threshold: int, key_fingerprint: str, date: str) -> str:
    """Return the page that a share is printed on.

    Args:
        words: the share.
        number: which it is, from 1.
        count: how many there are.
        threshold: how many give the key.
        key_fingerprint: of the root key.
        date: when it was made.

    Returns:
        The text, for a printer or a file.
    """
    numbered = [f"{place:2}. {word}" for place, word in enumerate(words.split(), 1)]
    height = -(-len(numbered) // _COLUMNS)
    lines = ["  ".join(f"{word:14}" for word in numbered[line::height]).rstrip() for line in range(height)]
    return (
        f"Share {number} of {count} of a root key of pgkeymgr\n\n"
        f"Any {threshold} of the {count} shares give the root key; fewer tell nothing about it.\n"
        "Keep this one secret, and apart from the others.\n\n"
        f"Made:         {date}\n"
        f"Fingerprint:  {key_fingerprint}\n\n" + "\n".join(lines) + "\n\n"
        "To get the key back: pgkeymgr escrow combine. The words are SLIP-39, without a passphrase.\n"
    )


def read(text: str, name: str) -> Read:
    """Read a share, and check that it has no mistyped word.

    Args:
        text: a page, or the words; of each word, the first 4 letters are enough.
        name: what to call the share in an error.

    Returns:
        The share.

    Raises:
        DataError: it is not a share of a root key. The message tells which words are wrong, by their numbers only.
    """
    numbered = {
        int(number): word for number, word in re.findall(r"(?<![\w.])(\d{1,2})\. ([a-z]+)\b", text.lower())
    }
    typed = [numbered[number] for number in sorted(numbered)] or [
        word for word in re.split(r"[\s.,]+", text.lower()) if word and not word.isdigit()
    ]
    if numbered and sorted(numbered) != list(range(1, len(numbered) + 1)):
        raise DataError(f"{name} lacks some of its words")
    indexes = [_index(word) for word in typed]
    unknown = [str(place) for place, index in enumerate(indexes, 1) if index is None]
    if unknown:
        raise DataError(
            f"{name} is mistyped: not in the list of words: number {', '.join(unknown)}",
            hint="Compare these with the page.",
        )
    if len(indexes) != WORDS:
        raise DataError(f"{name} has {len(indexes)} words, and a share has {WORDS}")
    known = [index for index in indexes if index is not None]
    words = " ".join(wordlist.words_from_indices(known))
    share = _parsed(words)
    if share is None:
        suspect = _mistyped(known)
        raise DataError(
            f"{name} is mistyped: its checksum is wrong",
            hint=f"Compare word {suspect} with the page." if suspect else "More than one word is wrong.",
        )
    if len(share.value) != KEY_BYTES or share.group_count != 1:
        raise DataError(f"{name} is a SLIP-39 share of something else than a root key of pgkeymgr")
    shown = re.search(r"fingerprint:?\s+([0-9a-f]{32})\b", text.lower())
    return Read(words, share, shown[1] if shown else None)


def _index(word: str) -> int | None:
    if word in wordlist.WORDLIST:
        return int(wordlist.WORDLIST.index(word))
    # A whole word with a wrong letter at its end is a mistake, not an abbreviation.
    if len(word) != _PREFIX_LETTERS:
        return None
    found = [index for index, each in enumerate(wordlist.WORDLIST) if each.startswith(word)]
    return found[0] if len(found) == 1 else None


def _parsed(words: str) -> Share | None:
    try:
        return Share.from_mnemonic(words)
    except MnemonicError:
        return None  # its text has some of the words


def _mistyped(indexes: list[int]) -> int | None:
    """Return the number of the one word with another in whose place the checksum is right; None if there is none.

    Any two shares differ in at least 4 words, so there is one such number at most.
    """
    for place, present in enumerate(indexes):
        for other in range(len(wordlist.WORDLIST)):
            indexes[place] = other
            is_extendable = bool(indexes[_EXTENDABLE_WORD] & _EXTENDABLE_BIT)
            if rs1024.verify_checksum(indexes, _CUSTOMIZATION[is_extendable]):
                return place + 1
        indexes[place] = present
    return None


def check_belongs(read_now: Read, before: Sequence[Read], name: str) -> None:
    """Refuse a share that is not one more of the same split.

    Args:
        read_now: the share.
        before: those that were read before it.
        name: what to call it in the error.

    Raises:
        DataError: it is of another split, or was given before.
    """
    for other in before:
        if other.share.group_parameters() != read_now.share.group_parameters():
            raise DataError(
                f"{name} and share {other.number} are not of the same split",
                hint="Shares that were made at different times do not go together, even if they are of one key.",
            )
        if other.number == read_now.number:
            raise DataError(f"{name} is share {read_now.number}, which was given before")


def combine(shares: Sequence[Read], expected: str | None) -> bytes:
    """Get the root key back.

    Args:
        shares: enough of one split.
        expected: the fingerprint of the root key, or None; those on the pages are checked too.

    Returns:
        The root key, 32 bytes.

    Raises:
        DataError: there are too few, or they do not give the key of that fingerprint.
    """
    needed = shares[0].share.member_threshold if shares else THRESHOLD_MIN
    if len(shares) < needed:
        raise DataError(f"{len(shares)} of the {needed} shares that are needed were given")
    key: bytes | None
    try:
        key = combine_mnemonics([share.words for share in shares[:needed]], _PASSPHRASE)
    except MnemonicError:
        key = None
    if key is None:
        raise DataError("these shares do not give a key", hint="One of them is of another split, or was forged.")
    found = fingerprint(key)
    for wanted in (expected, *(share.fingerprint for share in shares)):
        if wanted is not None and wanted != found:
            raise DataError(
                f"these shares give the root key {found}, and {wanted} was expected",
                hint="Nothing was written. Are they of another key, or was the fingerprint mistyped?",
            )
    return key
