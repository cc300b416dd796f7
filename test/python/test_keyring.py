"""The caches of a session: how many bytes they take, and which entry they forget first."""

import pytest
from pgkeymgr.key import keyring, use_cache
from pgkeymgr.key.cipher import TokenCipher
from pgkeymgr.key.keyring import BYTES_MAX, KEY_BYTES, Keyring
from pgkeymgr.key.record import Record
from pgkeymgr.key.use_cache import Conditions, UseCache


def record(key_id: int) -> Record:
    """Return the record of a key with a wrap under the root key."""
    fields: dict[str, object] = dict.fromkeys(Record._fields)
    fields |= {"id": key_id, "uuid": key_id.to_bytes(16, "big"), "root_wrap": b"wrap", "roles": []}
    return Record(**fields)  # type: ignore[arg-type]


def size(*, with_cipher: bool) -> int:
    """Return the estimate for a key that has used the first suite, or none."""
    return KEY_BYTES + (TokenCipher(1, bytes(32)).bytes if with_cipher else 0)


def test_the_least_recently_used_key_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BYTES_MAX", 3 * size(with_cipher=False))
    unlocked = []

    def unlock(record: Record) -> bytes:
        unlocked.append(record.id)
        return bytes(32)

    ring = Keyring()
    for key_id in (1, 2, 3, 1, 4, 1, 3, 4):
        ring.secret(record(key_id), unlock)
        assert len(ring) <= 3
    assert unlocked == [1, 2, 3, 4]
    ring.secret(record(2), unlock)
    ring.secret(record(1), unlock)
    assert unlocked == [1, 2, 3, 4, 2, 1]


def test_a_forgotten_key_has_no_cipher_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BYTES_MAX", 2 * size(with_cipher=True))
    ring = Keyring()
    ciphers = [ring.cipher(record(key_id), lambda _: bytes(32)) for key_id in (1, 2, 3)]
    assert ring.cipher(record(3), lambda _: bytes(32)) is ciphers[2]
    assert len(ring) == 2
    assert ring.cipher(record(1), lambda _: bytes(32)) is not ciphers[0]


def test_a_cipher_counts_for_more_once_it_has_used_more_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BYTES_MAX", 2 * size(with_cipher=True))
    ring = Keyring()
    first, _ = (ring.cipher(record(key_id), lambda _: bytes(32)) for key_id in (1, 2))
    assert len(ring) == 2
    before = first.bytes
    first.encrypt_deterministic(b"x", b"")
    first.encrypt_deterministic(b"y", b"")
    assert first.bytes > before
    assert ring.cipher(record(1), lambda _: bytes(32)) is first
    assert len(ring) == 1


class Session:
    """A session in which nothing changes."""

    def __init__(self) -> None:
        self.statement = 0

    def stamp(self) -> int:
        """Return the number of the statement."""
        return self.statement

    def transaction(self) -> int:
        """Return the number of the only transaction."""
        return 1

    def may_have_missed_changes(self, _stamp: int, _transaction: int) -> bool:
        """Return False."""
        return False

    def is_key_watch_valid(self) -> bool:
        """Return True."""
        return True


NO_CONDITIONS = Conditions(None, [], False)


def test_long_questions_take_the_room_of_many_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """``key_by`` asks about a value of the user's, which may be long."""
    monkeypatch.setattr(use_cache, "BYTES_MAX", 1_200_000)
    session = Session()
    uses = UseCache(session, lambda: None)  # type: ignore[arg-type]

    def kept(questions: list[str]) -> list[str]:
        """Return those of some questions that have an answer, which counts as a use of each."""
        session.statement += 1
        return [question for question in questions if uses.get(("child", question)) is not None]

    short = [str(number) for number in range(1000)]
    session.statement += 1
    for question in short:
        assert uses.get(("child", question)) is None
        uses.put(("child", question), 1, NO_CONDITIONS)
    assert kept(short) == short
    # The last used ones are still there after long ones have come.
    recent = short[:10]
    assert kept(recent) == recent
    long = [character * 80_000 for character in "abc"]
    for question in long:
        uses.put(("child", question), 1, NO_CONDITIONS)
    left = kept(short)
    assert recent == left[:10]
    assert len(left) < 300
    assert kept(long) == long
    uses.put(("child", "d" * 80_000), 1, NO_CONDITIONS)
    assert kept([*short, *long]) == long[1:]


def test_a_forgotten_key_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BYTES_MAX", 3 * size(with_cipher=True))
    ring = Keyring()
    for key_id in (1, 2, 3, 1, 1, 2, 3):
        ring.cipher(record(key_id), lambda _: bytes(32))
    # Another wrap replaces the entry, and a key without a wrap under the root key is not kept.
    ring.cipher(record(1)._replace(root_wrap=b"other"), lambda _: bytes(32))
    ring.cipher(record(4)._replace(root_wrap=None), lambda _: bytes(32))
    assert len(ring) == 3
    ring.clear()
    for key_id in (5, 6, 7):
        ring.cipher(record(key_id), lambda _: bytes(32))
    assert len(ring) == 3


def test_expired_and_cleared_answers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_cache, "BYTES_MAX", 3 * use_cache.ENTRY_BYTES)
    session = Session()
    uses = UseCache(session, lambda: None)  # type: ignore[arg-type]
    for _ in range(5):
        session.statement += 1
        assert uses.get((1,)) is None
        uses.put((1,), True, Conditions(None, [], True))  # for this statement only
    uses.put((2,), True, NO_CONDITIONS)
    uses.put((3,), True, NO_CONDITIONS)
    assert [uses.get((number,)) for number in (1, 2, 3)] == [True, True, True]
    uses.clear()
    uses.get((1,))
    for number in (4, 5, 6):
        uses.put((number,), True, NO_CONDITIONS)
    assert [uses.get((number,)) for number in (4, 5, 6)] == [True, True, True]


def test_the_bound_has_room_for_thousands_of_keys() -> None:
    assert BYTES_MAX // size(with_cipher=True) > 10_000
