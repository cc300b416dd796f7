"""The agent's wire format: known answers, round trips, and whatever else may come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgkeymgr import errors
from pgkeymgr.agent import protocol
from pgkeymgr.agent.protocol import FIELDS, LENGTH_BYTES, FormatError, Operation, Status

FINGERPRINT = "bcfeb5264e5a18c35f29399ef36dacb2"

# Another implementation of the format can be checked with these: frames in hexadecimal, their lengths included.
REQUESTS = [
    (Operation.IDENTIFY, [], "000000020101"),
    (
        Operation.DERIVE,
        [bytes.fromhex("ffffffffffffffff00000020"), b"pgsodium", b""],
        "0000002201020000000cffffffffffffffff00000020000000087067736f6469756d00000000",
    ),
    (
        Operation.WRAP,
        [FINGERPRINT.encode(), b"secret", b"ad"],
        "00000036010300000020" + FINGERPRINT.encode().hex() + "00000006736563726574000000026164",
    ),
    (
        Operation.UNWRAP,
        [b"\x01", b"", b"f"],
        "0000001001040000000101000000000000000166",
    ),
    (
        Operation.REWRAP,
        [b"f", b"\x01", b"", b"f"],
        "00000015010500000001660000000101000000000000000166",
    ),
    (Operation.STATUS, [], "000000020110"),
    (Operation.LOCK, [], "000000020111"),
    (Operation.UNLOCK, [], "000000020112"),
    (Operation.RELOAD, [], "000000020113"),
    (Operation.ANSWER, [b"typed"], "0000000b0114000000057479706564"),
    (
        Operation.CHECKPOINT,
        [bytes.fromhex("ffffffffffffffff"), b"shop", bytes.fromhex("0000000000000003"), b"\x01\x02"],
        "00000028010600000008ffffffffffffffff0000000473686f70000000080000000000000003000000020102",
    ),
    (Operation.AUDIT_KEYS, [], "000000020115"),
]


@pytest.mark.parametrize(("operation", "fields", "frame"), REQUESTS)
def test_known_requests(operation: Operation, fields: list[bytes], frame: str) -> None:
    assert protocol.encode(operation, fields).hex() == frame
    body = bytes.fromhex(frame)[LENGTH_BYTES:]
    assert protocol.frame_length(bytes.fromhex(frame)) == len(body)
    assert protocol.decode_request(body) == (operation, fields)


def test_every_operation_has_a_vector() -> None:
    assert {operation for operation, _, _ in REQUESTS} == set(Operation) == set(FIELDS)


def test_known_responses() -> None:
    assert protocol.encode(Status.OK, [b"ab"]).hex() == "000000080100000000026162"
    assert protocol.encode(Status.ASK, [b"PIN"]).hex() == "0000000901020000000350494e"
    error = protocol.encode_error(errors.DataError("no", hint="do"))
    assert error.hex() == "0000001b010100000009446174614572726f72000000026e6f00000002646f"


def test_derive() -> None:
    arguments = (-1, 32, b"pgsodium", None)
    frame = protocol.encode_derive(*arguments)
    assert frame.hex() == REQUESTS[1][2]
    assert protocol.decode_derive(protocol.decode_request(frame[LENGTH_BYTES:])[1]) == arguments


@given(
    key_id=st.integers(-(2**63), 2**63 - 1),
    length=st.integers(-(2**31), 2**31 - 1),
    context=st.binary(max_size=20),
    under=st.none() | st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
)
def test_derive_round_trip(key_id: int, length: int, context: bytes, under: str | None) -> None:
    frame = protocol.encode_derive(key_id, length, context, under)
    _, fields = protocol.decode_request(frame[LENGTH_BYTES:])
    assert protocol.decode_derive(fields) == (key_id, length, context, under)


@given(code=st.integers(0, 255), fields=st.lists(st.binary(max_size=300), max_size=protocol.FIELDS_MAX))
def test_round_trip(code: int, fields: list[bytes]) -> None:
    frame = protocol.encode(code, fields)
    assert protocol.frame_length(frame) == len(frame) - LENGTH_BYTES
    assert protocol.decode(frame[LENGTH_BYTES:]) == (code, fields)


@given(code=st.integers(0, 255), fields=st.lists(st.binary(max_size=30), max_size=4), cut=st.integers(min_value=1))
def test_a_truncated_frame_is_refused_or_has_whole_fields(code: int, fields: list[bytes], cut: int) -> None:
    """A frame that was cut is refused, or has fewer fields: each of them whole."""
    body = protocol.encode(code, fields)[LENGTH_BYTES:]
    try:
        _, left = protocol.decode(body[: -(cut % len(body)) or None])
    except FormatError:
        return
    assert left == fields[: len(left)]


@given(body=st.binary(max_size=200))
def test_garbage(body: bytes) -> None:
    for decode in (protocol.decode, protocol.decode_request):
        try:
            _, fields = decode(b"\x01" + body)
        except FormatError:
            continue
        assert sum(LENGTH_BYTES + len(field) for field in fields) == len(body) - 1
    try:
        protocol.decode_error([body, body, body])
    except FormatError:
        assert not body.isascii()


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\x63", b"\x01\x01\x00\x00\x00\x00", b"\x01\x02"])
def test_no_request(body: bytes) -> None:
    with pytest.raises(FormatError):
        protocol.decode_request(body)


@pytest.mark.parametrize("length", [0, 1, protocol.FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_no_length(length: int) -> None:
    with pytest.raises(FormatError, match=f"a frame must be 2 to [0-9]+ bytes long, not {length}"):
        protocol.frame_length(length.to_bytes(4, "big"))


def test_other_versions() -> None:
    with pytest.raises(protocol.VersionError) as unknown:
        protocol.decode(b"\x07\x01")
    assert unknown.value.version == 7
    assert protocol.unknown_version(7).message == "the agent does not support version 7 of the protocol, only 1"


@pytest.mark.parametrize("kind", ["DataError", "RootKeyError", "AgentError", "LimitError", "PassphraseError"])
@pytest.mark.parametrize("hint", [None, "Try this."])
def test_errors_come_back_as_they_were(kind: str, hint: str | None) -> None:
    error = getattr(errors, kind)("what is wrong: ä", hint)
    _, fields = protocol.decode(protocol.encode_error(error)[LENGTH_BYTES:])
    again = protocol.decode_error(fields)
    assert (type(again), again.message, again.hint) == (type(error), error.message, error.hint)


def test_an_error_of_an_unknown_class_is_the_agents() -> None:
    again = protocol.decode_error([b"SystemExit", b"message", b""])
    assert type(again) is errors.AgentError


def test_sizes() -> None:
    """The largest secret goes through, there and back; one byte more does not."""
    largest = bytes(protocol.SECRET_BYTES_MAX)
    protocol.check_secret(largest)
    wrapped = bytes(protocol.SECRET_BYTES_MAX + 41)
    protocol.check_wrapped(wrapped)
    protocol.encode(Operation.WRAP, (FINGERPRINT.encode(), largest, bytes(60_000)))
    protocol.encode(Operation.REWRAP, (FINGERPRINT.encode(), wrapped, bytes(60_000), FINGERPRINT.encode()))
    for check, value in ((protocol.check_secret, largest), (protocol.check_wrapped, wrapped)):
        with pytest.raises(errors.LimitError, match="too large for the agent"):
            check(value + b"x")
    with pytest.raises(errors.LimitError, match="too large for the agent"):
        protocol.encode(Operation.ANSWER, (bytes(protocol.FRAME_BYTES_MAX),))
