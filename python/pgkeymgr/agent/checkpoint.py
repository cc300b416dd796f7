"""Checkpoints of the audit trail: signed statements that a trail had a certain hash at a certain time.

A superuser of the database can write a new trail, with new hashes. A checkpoint that is kept elsewhere shows that
the trail has changed. The agent signs each checkpoint, and writes it to a file that only grows, and to its log.

A checkpoint is a line of JSON::

    {"checkpoint": {...}, "root_key": FINGERPRINT, "signatures": {"ed25519": BASE64, "ml-dsa-65": BASE64}}

The signed message is ``PREFIX`` and the checkpoint, as JSON with sorted keys and without spaces, in ASCII:

========  ===================================================================================================
field     meaning
========  ===================================================================================================
counter   1 for the first checkpoint of the file, and one more for each later one
database  the name of the database
hash      the hash of the last event, as ``pgkeymgr.key.audit`` computes it, 64 hexadecimal digits
link      the number of the last event of the trail; 0 if there is none
previous  SHA-256 of the line before this one; 64 zeros for the first line
system    the system identifier of the cluster
time      the agent's time
========  ===================================================================================================

Counter and ``previous`` show that lines were removed or exchanged. The agent knows the time and these two itself.
The others come from the server, and the agent signs that the server has said so.
"""

import base64
import binascii
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import AgentError, DataError
from ..root_key import signing, trusted_path

PREFIX = b"pgkeymgr audit checkpoint, format 1\0"
HASH_BYTES = 32
DATABASE_BYTES_MAX = 63

_NO_HASH = "0" * (2 * HASH_BYTES)
_LINE_BYTES_MAX = 1 << 16
_ID_MAX = 2**63
# O_NONBLOCK: opening a FIFO would block.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FIELDS = {
    "counter": int,
    "database": str,
    "hash": str,
    "link": int,
    "previous": str,
    "system": str,
    "time": str,
}


Sign = Callable[[bytes], Mapping[str, bytes]]
"""Signs a message, and returns the signatures by the name of the algorithm."""


@dataclass(frozen=True)
class Head:
    """The end of an audit trail, as a server reports it.

    Attributes:
        system: the system identifier of the cluster, an unsigned number of 64 bits.
        database: the name of the database.
        link: the number of the last event; 0 if there is none.
        hash: its hash, 32 bytes; zeros if there is none.
    """

    system: int
    database: str
    link: int
    hash: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.system < 2 * _ID_MAX:
            raise DataError("the system identifier is out of range")
        if not 0 < len(self.database.encode(errors="surrogatepass")) <= DATABASE_BYTES_MAX:
            raise DataError(f"the name of the database must be 1 to {DATABASE_BYTES_MAX} bytes long")
        if not 0 <= self.link < _ID_MAX:
            raise DataError("the number of the event is out of range")
        if len(self.hash) != HASH_BYTES or (self.link == 0) != (not any(self.hash)):
            raise DataError("the hash of the event is malformed")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read from a file; see the docstring of the module."""

    counter: int
    database: str
    hash: str
    link: int
    previous: str
    system: str
    time: str


def _message(fields: Mapping[str, Any]) -> bytes:
    return PREFIX + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


class CheckpointFile:
    """The file of the agent's checkpoints."""

    def __init__(self, path: str) -> None:
        """Initialize the object without opening the file.

        Args:
            path: the absolute path of the file. The agent creates it if it does not exist. Only root and the
                agent's user may be able to write the directories of the path.
        """
        self._path = path
        self._counter = 0

    def append(self, head: Head, root_key: str, sign: Sign) -> str:
        """Sign a checkpoint, and write it to the file and to the disk.

        Args:
            head: the end of the trail.
            root_key: the fingerprint of the root key.
            sign: signs a message with the keys of that root key; see ``root_key.signing``.

        Returns:
            The line.

        Raises:
            AgentError: the file could not be written, or another user could have written it.
        """
        try:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                return self._append(descriptor, head, root_key, sign)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error(f"could not be written: {os.strerror(error.errno or 0)}") from None

    def _open(self) -> int:
        directory_path, name = os.path.split(self._path)
        directory = trusted_path.open_directory(directory_path, self._refuse, "the agent")
        try:
            try:
                descriptor = os.open(name, _FLAGS, dir_fd=directory)
            except FileNotFoundError:
                descriptor = os.open(name, _FLAGS | os.O_CREAT, 0o644, dir_fd=directory)
                _write_directory_to_disk(directory)
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._error("is not a regular file")
        return descriptor

    def _append(self, descriptor: int, head: Head, root_key: str, sign: Sign) -> str:
        size = os.fstat(descriptor).st_size
        start = max(0, size - _LINE_BYTES_MAX)
        tail = os.pread(descriptor, size - start, start)
        # A write that failed can have left a part of a line.
        begin = b"" if not tail or tail.endswith(b"\n") else b"\n"
        last = tail.rstrip(b"\n").rpartition(b"\n")[2]
        counter, previous = 0, _NO_HASH
        if last:
            previous = hashlib.sha256(last).hexdigest()
            counter = next((one.counter for one in map(_read_quietly, reversed(tail.split(b"\n"))) if one), 0)
        # If the file was cut, the counter of this process shows it.
        self._counter = max(counter, self._counter) + 1
        fields = {
            "counter": self._counter,
            "database": head.database,
            "hash": head.hash.hex(),
            "link": head.link,
            "previous": previous,
            "system": str(head.system),
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        signatures = sign(_message(fields))
        line = json.dumps(
            {
                "checkpoint": fields,
                "root_key": root_key,
                "signatures": {name: base64.b64encode(one).decode() for name, one in signatures.items()},
            }
        )
        data = begin + line.encode("ascii") + b"\n"
        if os.write(descriptor, data) != len(data):
            raise self._error("could not be written: the disk is full")
        os.fsync(descriptor)
        return line

    def _refuse(self, reason: str, hint: str) -> AgentError:
        return AgentError(f'the file of checkpoints "{self._path}" {reason}', hint=hint)

    def _error(self, reason: str) -> AgentError:
        return self._refuse(reason, 'See "checkpoints" in agent.toml.')


def _write_directory_to_disk(directory: int) -> None:
    # The given descriptor cannot be read.
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(readable)
    finally:
        os.close(readable)


def _read_quietly(line: bytes) -> Checkpoint | None:
    try:
        return read(line)[0]
    except DataError:
        return None


def read(line: bytes) -> tuple[Checkpoint, str, dict[str, bytes]]:
    """Read a line of a file of checkpoints, without a check of its signatures.

    Args:
        line: the line, with or without the newline.

    Returns:
        The checkpoint, the fingerprint of the root key, and the signatures by the name of the algorithm.

    Raises:
        DataError: the line is not a checkpoint.
    """
    try:
        document = json.loads(line)
        fields = document["checkpoint"]
        if {name: type(value) for name, value in fields.items()} != _FIELDS:
            raise ValueError
        signatures = {name: base64.b64decode(text, validate=True) for name, text in document["signatures"].items()}
        return Checkpoint(**fields), str(document["root_key"]), signatures
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
        pass  # The error is raised below, because this exception has the line in it.
    raise DataError("the line is not a checkpoint")


PublicKeys = Mapping[str, Mapping[str, bytes]]
"""The public keys by the fingerprint of the root key and the name of the algorithm."""


def write_public_keys(keys: PublicKeys) -> str:
    """Return the text of a file of public keys: fingerprint, algorithm and base64 on each line."""
    return "".join(
        f"{fingerprint} {name} {base64.b64encode(key).decode()}\n"
        for fingerprint, by_name in keys.items()
        for name, key in by_name.items()
    )


def read_public_keys(text: str) -> PublicKeys:
    """Return the public keys in a file.

    Args:
        text: the text of the file, from ``write_public_keys``. Empty lines and lines that begin with # are left
            out.

    Raises:
        DataError: a line is malformed, or there is no key.
    """
    keys: dict[str, dict[str, bytes]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            fingerprint, name, encoded = line.split()
            key = base64.b64decode(encoded, validate=True)
            if len(key) != signing.PUBLIC_KEY_BYTES[name]:
                raise ValueError
            keys.setdefault(fingerprint, {})[name] = key
        except (ValueError, KeyError, binascii.Error):
            raise DataError(f"line {number} is not a public key") from None
    if not keys:
        raise DataError("there is no public key")
    return keys


def _signature_fault(
    checkpoint: Checkpoint, fingerprint: str, signatures: Mapping[str, bytes], keys: PublicKeys
) -> str | None:
    pinned = keys.get(fingerprint)
    if pinned is None:
        return f"it is signed under the root key {fingerprint}, whose public keys are not given"
    message = _message(checkpoint.__dict__)
    for name, key in pinned.items():
        if name not in signatures:
            return f"the signature of {name} is missing"
        if not signing.verify(name, key, signatures[name], message):
            return f"the signature of {name} is not valid"
    return None


def verify_lines(lines: Iterable[bytes], keys: PublicKeys) -> tuple[list[Checkpoint], list[str]]:
    """Verify the lines of a file of checkpoints.

    Args:
        lines: the lines.
        keys: the public keys that the auditor trusts. Each checkpoint must have a valid signature for every
            algorithm that the keys of its root key have.

    Returns:
        The checkpoints whose signatures are valid, in the order of the file, and a phrase for each fault: a
        malformed line, a signature that is not valid, lines that are missing, and a trail that was cut or was
        computed again.

    Raises:
        DataError: a public key is malformed.
        UnsupportedError: this machine cannot verify signatures of one of the algorithms.
    """
    good: list[Checkpoint] = []
    faults: list[str] = []
    before, counter = _NO_HASH, 0
    ends: dict[tuple[str, str], Checkpoint] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\n")
        if not line:
            continue
        what = f"line {number}"
        previous, before = before, hashlib.sha256(line).hexdigest()
        try:
            checkpoint, fingerprint, signatures = read(line)
        except DataError:
            faults.append(f"{what} is not a checkpoint")
            continue
        if (fault := _signature_fault(checkpoint, fingerprint, signatures, keys)) is not None:
            faults.append(f"{what}: {fault}")
            continue
        if checkpoint.previous != previous:
            faults.append(f"{what} does not follow the line before it: lines were removed or exchanged")
        elif checkpoint.counter != counter + 1 and previous != _NO_HASH:
            faults.append(f"{what} has the counter {checkpoint.counter}, not {counter + 1}: lines are missing")
        counter = checkpoint.counter
        which = checkpoint.system, checkpoint.database
        end = ends.get(which)
        if end is not None and checkpoint.link < end.link:
            faults.append(
                f'{what}: the trail of database "{checkpoint.database}" went back from event {end.link} to event '
                f"{checkpoint.link}"
            )
        elif end is not None and checkpoint.link == end.link and checkpoint.hash != end.hash:
            faults.append(
                f'{what}: event {end.link} of database "{checkpoint.database}" has another hash than before'
            )
        ends[which] = checkpoint
        good.append(checkpoint)
    return good, faults
