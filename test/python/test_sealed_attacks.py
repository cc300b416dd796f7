"""Attacks on sealed secrets: replayed, redirected, malformed and recorded messages, and guesses."""

import os
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sealed_session
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value
from database_session import Database
from nacl import bindings
from nacl.exceptions import CryptoError
from pgkeymgr.errors import ChallengeError, DataError, FingerprintError
from pgkeymgr.root_key import LocalRootKey
from pgkeymgr.sealed.attempts import DELAY_SECONDS
from pgkeymgr.sealed.message import check_offer, fingerprint, open_sealed, seal, sign_offer
from psycopg import errors
from sealed_session import (
    FOREIGN,
    LOCKED,
    STALE,
    call,
    check_chain,
    decrypt,
    events,
    fingerprint_of,
    offer_to,
    passphrase_key,
    sealed,
    token_of,
)

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin


# Each costs half a second of a core, on purpose: 1,000 of them take as long as all other tests. That many by hand.
GUESSES = int(os.environ.get("PGKEYMGR_GUESSES", "100"))
GUESSERS = 4


# Attacks


def test_a_sealed_message_is_good_for_one_call(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice, database.session("alice") as other:
        unlock = "SELECT unlock_data_key('k', %s)"
        message = sealed(alice, "first")
        alice.execute(unlock, (message,))
        token = token_of(alice, "k")
        with STALE:
            alice.execute(unlock, (message,))
        # lock() also forgets the offer, and must not bring an earlier one back.
        rows(alice, "SELECT lock()")
        with STALE:
            alice.execute(unlock, (message,))
        offer_to(alice)
        with FOREIGN:
            alice.execute(unlock, (message,))
        with STALE:
            other.execute(unlock, (message,))
        offer_to(other)
        with FOREIGN:
            other.execute(unlock, (message,))
        for connection in (alice, other):
            with LOCKED:
                rows(connection, decrypt(token))


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_message_that_was_used_in_a_transaction_that_is_rolled_back(
    database: Database, admin: Connection, rolled_back: bool
) -> None:
    """No rollback makes a used message good again, since its use is not a row."""
    passphrase_key(admin)
    with database.session("alice") as alice:
        message = sealed(alice, "first")
        alice.execute("BEGIN")
        alice.execute("SELECT unlock_data_key('k', %s)", (message,))
        token = token_of(alice, "k")
        alice.execute("ROLLBACK" if rolled_back else "COMMIT")
        with STALE:
            alice.execute("SELECT unlock_data_key('k', %s)", (message,))
        if rolled_back:
            with LOCKED:
                rows(alice, decrypt(token))
        else:
            assert value(alice, decrypt(token)) == "x"


def test_a_message_that_failed_is_burnt(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    with database.session("alice") as alice:
        wrong = sealed(alice, "wrong")
        with pytest.raises(errors.InvalidPassword):
            alice.execute(unlock, (wrong,))
        with STALE:
            alice.execute(unlock, (wrong,))
        # Nor is the offer there after something else than a message for it: the right one is too late.
        failures: dict[bytes, type[psycopg.Error]] = {
            b"": errors.InvalidAuthorizationSpecification,
            secrets.token_bytes(100): errors.InvalidAuthorizationSpecification,
            bytes(70000): errors.DataException,
        }
        for garbage, error in failures.items():
            right = sealed(alice, "first")
            with pytest.raises(error):
                alice.execute(unlock, (garbage,))
            with STALE:
                alice.execute(unlock, (right,))
        right = sealed(alice, "first")
        with pytest.raises(errors.DataException, match="sealed must not be NULL"):
            alice.execute("SELECT unlock_data_key('k', NULL)")
        with STALE:
            alice.execute(unlock, (right,))
    assert events(admin, "unlock") == []


def test_messages_that_are_malformed_within(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    contents = {
        b"\0\0\0\6first": "a secret is shorter than its length says",
        b"\xff\xff\xff\xfffirst": "a secret is shorter than its length says",
        b"\0\0": "a secret is shorter than its length says",
        b"": "must have 1 secrets in it, not 0",
        b"\0\0\0\5first\0\0\0\5first": "must have 1 secrets in it, not 2",
        b"\0\0\0\0": "must not be empty",
        b"\0\0\0\5firs\xff": "a passphrase must be UTF-8",
    }
    with database.session("alice") as alice:
        for content, message in contents.items():
            offer = offer_to(alice)
            box = bindings.crypto_box_seal(offer.challenge + content, offer.public)
            with pytest.raises(errors.DataException, match=message):
                alice.execute("SELECT unlock_data_key('k', %s)", (box,))
        offer = offer_to(alice)
        box = bindings.crypto_box_seal(bytes(32) + b"\0\0\0\5first", offer.public)
        with FOREIGN:
            alice.execute("SELECT unlock_data_key('k', %s)", (box,))
        # The same, made like that, with the right content.
        offer = offer_to(alice)
        box = bindings.crypto_box_seal(offer.challenge + b"\0\0\0\5first", offer.public)
        alice.execute("SELECT unlock_data_key('k', %s)", (box,))


def test_sealed_to_another_session(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    with database.session("alice") as mine, database.session("alice") as theirs:
        message = sealed(mine, "first")
        with STALE:
            theirs.execute(unlock, (message,))
        offer_to(theirs)
        with FOREIGN:
            theirs.execute(unlock, (message,))
        # That did not take it from the session that it is for.
        mine.execute(unlock, (message,))
        # And an offer that another took the place of is gone, though it was signed.
        old = sealed(mine, "first")
        offer_to(mine)
        with FOREIGN:
            mine.execute(unlock, (old,))


def test_sealed_by_one_role_and_presented_by_another(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    for first, second in (("RESET ROLE", "SET ROLE alice"), ("SET ROLE alice", "RESET ROLE")):
        rows(admin, first)
        message = sealed(admin, "first")
        rows(admin, second)
        with FOREIGN:
            admin.execute(unlock, (message,))
        rows(admin, first)
        with STALE:
            admin.execute(unlock, (message,))
    # A key that one role has unlocked is locked for the other role in the same session.
    rows(admin, "SET ROLE alice")
    call(admin, unlock, "first")
    token = token_of(admin, "k")
    rows(admin, "RESET ROLE")
    with LOCKED:
        rows(admin, decrypt(token))
    rows(admin, "SET ROLE alice")
    assert value(admin, decrypt(token)) == "x"


def test_a_client_refuses_an_offer_of_somebody_else(admin: Connection) -> None:
    pinned = fingerprint_of(admin)
    offer = offer_to(admin)
    check_offer(offer, pinned)
    check_offer(offer, ":".join(re.findall("..", pinned.upper())))
    their_public, their_signing_key = bindings.crypto_sign_keypair()
    their_box_key, _ = bindings.crypto_box_keypair()
    theirs = sign_offer(offer.public, offer.challenge, their_signing_key)
    check_offer(theirs, fingerprint(their_public))
    with pytest.raises(FingerprintError, match="and the pinned one is"):
        check_offer(theirs, pinned)
    forged = {
        "a bit of the signature": offer._replace(signature=bytes([offer.signature[0] ^ 1]) + offer.signature[1:]),
        "no signature": offer._replace(signature=bytes(64)),
        "their signature": offer._replace(signature=theirs.signature),
        "their key to seal to": offer._replace(public=their_box_key),
        "another challenge": offer._replace(challenge=bytes(32)),
        "another offer's signature": offer._replace(signature=offer_to(admin).signature),
    }
    for each in forged.values():
        with pytest.raises(FingerprintError, match="the signature of the offer is not the server's"):
            seal(each, pinned, [b"first"])
    with pytest.raises(DataError, match="signature must be 64 bytes long"):
        check_offer(offer._replace(signature=b""), pinned)


def test_a_stolen_exchange_key_opens_no_recorded_message(database: Database, admin: Connection) -> None:
    """Nor does the root key: the secret half of an offer's key was in its session's memory only."""
    passphrase_key(admin)
    with database.session("alice") as alice:
        pinned = fingerprint_of(alice)
        offer = offer_to(alice)
        recorded = seal(offer, pinned, [b"first"])
        alice.execute("SELECT unlock_data_key('k', %s)", (recorded,))
    # The thief has the database's rows and the root key.
    ((public, made_under, wrapped),) = rows(admin, "SELECT public, fingerprint, wrapped FROM server_key")
    root_key = bytes.fromhex(ROOT_KEY)
    signing_key = LocalRootKey([root_key], "the thief").unwrap(
        wrapped, b"server key exchange" + public, made_under
    )
    assert sign_offer(offer.public, offer.challenge, signing_key) == offer  # it is the real one
    box_secret = bindings.crypto_sign_ed25519_sk_to_curve25519(signing_key)
    box_public = bindings.crypto_sign_ed25519_pk_to_curve25519(public)
    pairs = {
        "the exchange key": (box_public, box_secret),
        "the root key": (bindings.crypto_scalarmult_base(root_key), root_key),
        "the exchange key's seed": (bindings.crypto_scalarmult_base(signing_key[:32]), signing_key[:32]),
    }
    for their_public, secret in pairs.values():
        # As it would open what was sealed to it:
        to_it = bindings.crypto_box_seal(offer.challenge + b"\0\0\0\5first", their_public)
        assert open_sealed(to_it, their_public, secret, offer.challenge) == [b"first"]
        for pretended in (offer.public, their_public):
            with pytest.raises(ChallengeError):
                open_sealed(recorded, pretended, secret, offer.challenge)
            with pytest.raises(CryptoError):
                bindings.crypto_box_seal_open(recorded, pretended, secret)
    # With the exchange key, the thief can answer for the server from now on, until it is rotated.
    rows(admin, "SELECT rotate_exchange_key()")
    with database.session("alice") as alice, pytest.raises(FingerprintError):
        seal(offer_to(alice), pinned, [b"first"])


def test_a_rotated_exchange_key(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice:
        old = fingerprint_of(alice)
        before = sealed(alice, "first")
        with pytest.raises(errors.InsufficientPrivilege):
            alice.execute("SELECT rotate_exchange_key()")
        new = value(admin, "SELECT rotate_exchange_key()")
        assert new != old
        assert fingerprint_of(alice) == new
        assert ("postgres", new) in events(admin, "rotate_exchange_key")
        # An offer from before is good still: its signature was checked then.
        alice.execute("SELECT unlock_data_key('k', %s)", (before,))
        offer = offer_to(alice)
        with pytest.raises(FingerprintError, match=f"has the fingerprint {new}, and the pinned one is {old}"):
            seal(offer, old, [b"first"])
        alice.execute("SELECT unlock_data_key('k', %s)", (seal(offer, new, [b"first"]),))
    assert rows(admin, "SELECT count(*) FROM server_key") == [(1,)]


def test_guessing_a_passphrase(server: Cluster, database: Database, admin: Connection) -> None:
    """Many guesses in four sessions: each costs its Argon2id and a delay, and is counted, and not told."""
    passphrase_key(admin, "guessed")
    rows(admin, "SELECT exchange_offer()")
    (number,) = rows(admin, "SELECT max(id) FROM key")[0]
    with database.session("alice") as alice:
        message = sealed(alice, "first")
        began = time.monotonic()
        alice.execute("SELECT unlock_data_key('guessed', %s)", (message,))
        one_unlock = time.monotonic() - began
    each = GUESSES // GUESSERS
    guesses = [[f"guess-{secrets.token_hex(12)}" for _ in range(each)] for _ in range(GUESSERS)]
    sessions = [server.connect(database.name, "alice", options="-c search_path=pgkeymgr") for _ in guesses]
    log_before = len(server.log)

    def guess(session: Connection, mine: list[str]) -> int:
        for passphrase in mine:
            with pytest.raises(errors.InvalidPassword, match=r'wrong passphrase for key \d+ "guessed"'):
                call(session, "SELECT unlock_data_key('guessed', %s)", passphrase)
        return len(mine)

    began = time.monotonic()
    with ThreadPoolExecutor(GUESSERS) as threads:
        assert sum(threads.map(guess, sessions, guesses)) == GUESSES
    took = time.monotonic() - began
    at_least = each * (one_unlock * 0.5 + DELAY_SECONDS)
    print(
        f"{GUESSES} wrong passphrases in {GUESSERS} sessions: {took:.1f} s, {took / each * 1000:.0f} ms each"
        f" (at least {at_least:.1f} s; one right one took {one_unlock * 1000:.0f} ms)"
    )
    assert took >= at_least
    log = server.log[log_before:]
    assert "exchange_offer" in log
    told = re.findall(
        rf'LOG:  pgkeymgr: failed_unlock key {number} "guessed" by alice from \[local\]'
        r" \(attempt (\d+) of this session\)",
        log,
    )
    counts = sorted([*range(1, each + 1)] * GUESSERS)
    assert sorted(map(int, told)) == counts
    assert log.count("failed_unlock") == GUESSES
    assert "guess-" not in log
    assert not [passphrase for mine in guesses for passphrase in mine if passphrase in log]
    # In the trail, too, but for the last of each session, which its next call writes.
    last = ("alice", f"attempt {each} of this session")
    written = events(admin, "failed_unlock")
    assert len(written) == GUESSES - GUESSERS
    assert last not in written
    for session in sessions:
        offer_to(session)
        session.close()
    written = events(admin, "failed_unlock")
    details = [("alice", f"attempt {count} of this session") for count in counts]
    assert sorted(written) == sorted(details)
    assert check_chain(admin) >= GUESSES
    assert "guess-" not in str(rows(admin, "SELECT * FROM key_events"))
