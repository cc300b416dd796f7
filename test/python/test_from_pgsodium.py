"""docs/from-pgsodium.md, step by step, on what pgsodium 3.1.9 made under the root key of the vectors."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from document_blocks import blocks
from pgkeymgr.crypto import aead_det
from pgkeymgr.root_key import LocalRootKey
from psycopg import errors

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pgsodium.json").read_text())
ROOT = LocalRootKey([bytes.fromhex(VECTORS["root_key"])], "test")
PARENT, CHILD, EXPIRED, INVALID = (uuid.uuid5(uuid.NAMESPACE_URL, name) for name in "pcei")
RAW = bytes(range(32))

TYPES = {
    "crypto_secretbox": "secretbox",
    "crypto_secretbox_open": "secretbox",
    "crypto_aead_det_encrypt": "aead-det",
    "crypto_aead_det_decrypt": "aead-det",
    "crypto_aead_ietf_encrypt": "aead-ietf",
    "crypto_auth": "auth",
    "crypto_auth_hmacsha256": "hmacsha256",
    "crypto_auth_hmacsha512": "hmacsha512",
    "crypto_aead_ietf_decrypt": "aead-ietf",
    "crypto_auth_verify": "auth",
    "crypto_auth_hmacsha256_verify": "hmacsha256",
    "crypto_auth_hmacsha512_verify": "hmacsha512",
    "crypto_generichash": "generichash",
    "crypto_shorthash": "shorthash",
}
BY_NUMBER = re.compile(r", '?(-?\d+)'?::bigint(?:, '\\x([0-9a-f]{16})'::bytea)?\)$")


@pytest.fixture(scope="module")
def moved(cluster: Cluster) -> Iterator[Connection]:
    """A database in which the steps were taken."""
    cluster.create_database("moved", schema="pgsodium")
    # As pgsodium's trigger encrypts a raw key: under its parent, the uuid and associated data authenticated.
    parent = ROOT.derive(21, 32, b"pgsodium")
    nonce = bytes(16)
    sealed = aead_det.crypto_aead_det_encrypt(RAW, f"{CHILD}note".encode(), parent, nonce)
    with cluster.connect("moved") as connection:
        connection.execute(
            """
            CREATE TABLE old_key (id uuid, status text, key_type text, name text, key_id bigint, key_context bytea,
                raw_key bytea, raw_key_nonce bytea, parent_key uuid, expires timestamptz, associated_data text)
            """
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO old_key VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (CHILD, "valid", "secretbox", "raw", None, None, sealed, nonce, PARENT, None, "note"),
                    (PARENT, "valid", "aead-det", None, 21, b"pgsodium", None, None, None, None, ""),
                    (EXPIRED, "expired", "auth", "old", 22, b"pgsodium", None, None, None, "2020-01-01", ""),
                    (INVALID, "invalid", "auth", "bad", 23, b"context1", None, None, None, None, ""),
                ],
            )
        steps = [block.text for block in blocks("docs/from-pgsodium.md", "sql")]
        for name in ("import_pgsodium_key", "grant_data_key"):
            (step,) = (text for text in steps if f"pgsodium.{name}(" in text)
            rows(connection, step.replace("'app'", "'pgkeymgr_user'"))
        connection.execute("SET search_path = pgsodium, public")
        yield connection
    with cluster.connect() as connection:
        connection.execute("DROP DATABASE moved")


def test_valid_key_shows_the_imported_keys(moved: Connection) -> None:
    assert rows(moved, "SELECT id, status, name, key_id, associated_data FROM valid_key ORDER BY key_id") == [
        (PARENT, "valid", None, 21, ""),
        (CHILD, "valid", "raw", None, "note"),
    ]
    states = "SELECT name, state, my_usage FROM data_keys WHERE name IN ('old', 'bad') ORDER BY name"
    assert rows(moved, states) == [
        ("bad", "disabled", ["encrypt", "decrypt"]),
        ("old", "disabled", ["encrypt", "decrypt"]),
    ]
    assert rows(moved, "SELECT derivation_id FROM data_keys WHERE name IS NOT NULL ORDER BY name") == [
        (23,),
        (22,),
        (None,),
    ]
    # A new key has no number.
    assert value(moved, "SELECT (create_key('auth')).key_id") is None


def test_a_raw_key_is_the_one_it_was(moved: Connection) -> None:
    nonce = f"'\\x{'00' * 24}'"
    by_uuid = value(moved, f"SELECT crypto_secretbox('x', {nonce}, '{CHILD}'::uuid)")
    assert by_uuid == value(moved, f"SELECT crypto_secretbox('x', {nonce}, '\\x{RAW.hex()}'::bytea)")


def test_expired_and_invalid_keys_are_refused(moved: Connection) -> None:
    for key in (EXPIRED, INVALID):
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            rows(moved, f"SELECT crypto_auth('x', '{key}'::uuid)")


def test_a_raw_key_whose_parent_is_missing(moved: Connection) -> None:
    with pytest.raises(errors.UndefinedObject, match=r"key with uuid .* does not exist"):
        rows(
            moved,
            f"SELECT import_pgsodium_key('{uuid.uuid4()}', 'valid', 'auth', raw_key => '\\x00', "
            f"raw_key_nonce => '\\x{'00' * 16}', parent_key => '{uuid.uuid4()}')",
        )


def test_its_outputs_are_read_by_uuid(moved: Connection) -> None:
    """Everything that pgsodium made under a number is read under the uuid of a key with that number."""
    made: dict[tuple[str, int, str], str] = {}
    read = 0
    for case in VECTORS["cases"]:
        number = BY_NUMBER.search(case["sql"])
        key_type = TYPES.get(case["function"])
        if number is None or key_type is None or case.get("tags") or case["type"] == "error":
            continue
        which = key_type, int(number[1]), number[2] or b"pgsodium".hex()
        if which not in made:
            made[which] = str(uuid.uuid4())
            rows(
                moved,
                f"SELECT import_pgsodium_key('{made[which]}', 'valid', '{key_type}', NULL, '{which[1]}', "
                f"'\\x{which[2]}')",
            )
        result = value(moved, BY_NUMBER.sub(f", '{made[which]}'::uuid)", case["sql"]))
        assert (result.hex() if isinstance(result, bytes) else result) == case["result"]
        read += 1
    assert read >= 30
    assert len(made) >= 9
