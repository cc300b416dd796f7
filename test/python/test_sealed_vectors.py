"""User wraps and the chain of the audit trail, without a server: known answers, round trips, alterations."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from pgkeymgr.key.audit import event_hash
from pgkeymgr.key.record import wrap_associated_data
from pgkeymgr.key.user_wrap import OVERHEAD_BYTES, open_user_wrap, user_wrap

PUBLIC, SECRET = bindings.crypto_box_seed_keypair(bytes(range(32)))
PLACE = wrap_associated_data(bytes(16), "data")
DATA_KEY = b"\x42" * 32
WRAP = bytes.fromhex(
    "017673ece3401c152cdc49ce5aaa94b799a53469f1a9f650adadb3477b76afb7379671d92a698c5135f0969e7d2ebe7384e4d62ac7dc5139"
    "c11d067f9d58499f07f6ed5143abaa13326f3988d38c9c66f33db66a2437e559e5fe9491f6a51194d053fe5290e76c25b3b713cfd0a3435"
    "0de"
)

EVENT = {
    "link": "1",
    "id": "00000000-0000-4000-8000-000000000001",
    "at": "2026-11-25T09:00:00.000001",
    "event": "create",
    "key_id": "7",
    "key_name": "ключ",
    "role": "alice",
    "session_role": "app",
    "client": "[local]",
    "detail": None,
}
EVENT_HASH = "de671ace7d03ff62eb9262722def768505d6d4b7c29a7e8b83f663269efd3e7e"


def test_a_user_wrap_of_before_opens() -> None:
    assert open_user_wrap(WRAP, PLACE, PUBLIC, SECRET) == DATA_KEY


@given(secret=st.binary(max_size=200), place=st.binary(max_size=100))
def test_user_wraps_open_at_their_place_only(secret: bytes, place: bytes) -> None:
    wrapped = user_wrap(secret, place, PUBLIC)
    assert len(wrapped) == len(secret) + OVERHEAD_BYTES
    assert open_user_wrap(wrapped, place, PUBLIC, SECRET) == secret
    assert open_user_wrap(wrapped, place + b"x", PUBLIC, SECRET) is None
    other_public, other_secret = bindings.crypto_box_keypair()
    assert open_user_wrap(wrapped, place, other_public, other_secret) is None


def test_no_altered_user_wrap_opens() -> None:
    for bit in range(8 * len(WRAP)):
        altered = bytearray(WRAP)
        altered[bit // 8] ^= 1 << bit % 8
        assert open_user_wrap(bytes(altered), PLACE, PUBLIC, SECRET) is None, bit
    for size in range(len(WRAP)):
        assert open_user_wrap(WRAP[:size], PLACE, PUBLIC, SECRET) is None, size
    assert open_user_wrap(WRAP + b"\0", PLACE, PUBLIC, SECRET) is None


def test_the_hash_of_an_event() -> None:
    assert event_hash(bytes(32), EVENT).hex() == EVENT_HASH


@pytest.mark.parametrize("field", EVENT)
def test_the_hash_covers_each_field(field: str) -> None:
    for value in ("", None, "another"):
        assert event_hash(bytes(32), {**EVENT, field: value}).hex() != EVENT_HASH or EVENT[field] == value


def test_the_hash_tells_where_a_field_ends() -> None:
    """A text that moves from one field to the next makes another event, and NULL is not the empty text."""
    texts: list[Any] = ["", "a", "aa", None]
    hashes = [
        event_hash(bytes(32), {**EVENT, "role": role, "session_role": session_role, "client": client})
        for role, session_role, client in itertools.product(texts, repeat=3)
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_covers_the_one_before() -> None:
    assert event_hash(b"\1" + bytes(31), EVENT).hex() != EVENT_HASH
