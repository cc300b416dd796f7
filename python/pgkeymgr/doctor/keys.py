"""Finds keys that expire, that have encrypted too many values, or that can be used without a grant."""

from collections.abc import Iterator

from ..key.table import DERIVED_WRAP_BYTES
from ..root_key.wrap import OVERHEAD_BYTES
from .finding import ERROR, WARNING, Context, Finding, join_names

EXPIRY_DAYS = 30

MESSAGES_MAX = 2**32
"""The limit for messages under one key with random nonces of 96 bits, from NIST SP 800-38D, section 8.3.

After so many messages, two of them have the same nonce with a probability of 2^-33. The limit is for AES-GCM. With
AES-256-GCM-SIV, a repeated nonce reveals only whether two values with the same associated data are equal (RFC
8452). So the limit is a reason to rotate the key, and exceeding it does not break the encryption.
"""


def check_expiry(context: Context) -> Iterator[Finding]:
    """Find current versions of keys that have expired or will soon expire, and the columns that need them."""
    for row in context.rows(
        """
        SELECT
            k.id, coalesce(k.name, 'without a name') AS name, k.expires <= clock_timestamp() AS is_expired,
            to_char(k.expires, 'YYYY-MM-DD HH24:MI TZ') AS expires,
            ARRAY(
                SELECT format('%s.%I', coalesce(b.oid::regclass::text, r.name::text), c.column_name)
                FROM {s}.encrypted_column AS c
                JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
                LEFT JOIN pg_class AS b ON b.oid = r.relation::oid
                WHERE r.dropped IS NULL AND (
                    c.key_family = k.family
                    OR c.blind_key = k.id
                    OR EXISTS (
                        SELECT FROM {s}.encrypted_terms AS t WHERE t.column_id = c.id AND t.terms_key = k.id
                    )
                    OR (c.key_by IS NOT NULL AND c.key_family = k.parent_family)
                )
                ORDER BY 1
            ) AS columns
        FROM {s}.key AS k
        WHERE k.superseded_by IS NULL
            AND k.state::text = 'enabled'
            AND k.expires <= (clock_timestamp() + make_interval(days => $1))
        ORDER BY k.expires, k.id
        """,
        ("integer", EXPIRY_DAYS),
    ):
        columns = row["columns"]
        used = f"; it is needed by the encrypted columns {join_names(columns)}" if columns else ""
        if row["is_expired"]:
            yield Finding(
                ERROR,
                f"key {row['id']} ({row['name']})",
                f"the key expired at {row['expires']}, and can neither encrypt nor decrypt{used}",
                f"To go on using the key: {_call_to_extend(row['id'])}",
            )
        else:
            yield Finding(
                WARNING,
                f"key {row['id']} ({row['name']})",
                f"the key expires at {row['expires']}, and can then neither encrypt nor decrypt{used}",
                "CALL rotate_column() for its columns, or SELECT supersede_data_key(): the new version has the "
                f"same lifetime. To go on using this version: {_call_to_extend(row['id'])}",
            )
    yield from _ends_of_encryption(context)


def _ends_of_encryption(context: Context) -> Iterator[Finding]:
    """Find keys that only decrypt, or soon will, while columns are written with them."""
    for row in context.rows(
        """
        SELECT
            k.id, coalesce(k.name, 'without a name') AS name, k.encrypts_until <= clock_timestamp() AS has_stopped,
            to_char(k.encrypts_until, 'YYYY-MM-DD HH24:MI TZ') AS until
        FROM {s}.key AS k
        WHERE k.superseded_by IS NULL
            AND k.state::text = 'enabled'
            AND k.encrypts_until <= (clock_timestamp() + make_interval(days => $1))
            AND EXISTS (
                SELECT
                FROM {s}.encrypted_column AS c
                JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
                WHERE r.dropped IS NULL
                    AND (c.key_family = k.family OR (c.key_by IS NOT NULL AND c.key_family = k.parent_family))
            )
        ORDER BY k.encrypts_until, k.id
        """,
        ("integer", EXPIRY_DAYS),
    ):
        verb = "has encrypted" if row["has_stopped"] else "encrypts"
        yield Finding(
            WARNING,
            f"key {row['id']} ({row['name']})",
            f"the key {verb} only until {row['until']}, and columns are written with it",
            f"SELECT supersede_data_key({row['id']}); then CALL rotate_column() for its columns, with "
            "supersede => false.",
        )


def _call_to_extend(key_id: int) -> str:
    return f"SELECT move_expiry({key_id}, 'a later time');"


def check_use(context: Context) -> Iterator[Finding]:
    """Estimate how many values each key of a randomized column has encrypted."""
    for row in context.rows(
        """
        SELECT
            c.key_name AS name, bool_or(c.key_by IS NOT NULL) AS is_divided, sum(b.messages)::bigint AS messages,
            array_agg(format('%s.%I', b.name, c.column_name) ORDER BY c.id) AS columns
        FROM {s}.encrypted_column AS c
        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
        CROSS JOIN LATERAL (
            SELECT
                b.oid::regclass::text AS name,
                GREATEST(
                    b.reltuples::numeric, 0,
                    pg_stat_get_tuples_inserted(b.oid) + pg_stat_get_tuples_updated(b.oid)
                ) AS messages
            FROM pg_class AS b
            WHERE b.oid = r.base::oid
        ) AS b
        WHERE NOT c.deterministic
        GROUP BY c.key_family, c.key_name
        HAVING sum(b.messages) > $1
        ORDER BY c.key_name
        """,
        ("bigint", MESSAGES_MAX),
    ):
        divided = ", by all keys of the column together" if row["is_divided"] else ""
        yield Finding(
            WARNING,
            f"key {row['name']}",
            f"the key has encrypted an estimated {row['messages']:,} values in "
            f"{join_names(row['columns'])}{divided}, but the limit for random nonces of 96 bits is "
            f"{MESSAGES_MAX:,} (NIST SP 800-38D, 8.3); the estimate includes values under older versions of the "
            "key",
            "CALL rotate_column(), and then SELECT pg_stat_reset_single_table_counters() for the base table. If "
            "the table has more rows than the limit, encrypt it with key_by. If it has fewer, ANALYZE it.",
        )


def check_numbers(context: Context) -> Iterator[Finding]:
    """Find keys of the key table that came from pgsodium with a number, and can be used by it without a grant."""
    for row in context.rows(
        """
        SELECT
            k.id, coalesce(k.name, k.uuid::text) AS name, k.derivation_id, encode(k.context, 'escape') AS context
        FROM {s}.key AS k
        JOIN {s}.key_wrap AS w ON w.key_id = k.id
        WHERE k.derivation_id IS NOT NULL
            AND w.kind::text = 'root'
            -- Such a wrap does not contain the key, which is derived at each use. A rotation of the root key
            -- replaces it by a wrap that contains the key.
            AND octet_length(w.wrapped) = $1
        ORDER BY k.id
        """,
        ("integer", OVERHEAD_BYTES + DERIVED_WRAP_BYTES),
    ):
        yield Finding(
            WARNING,
            f"key {row['id']} ({row['name']})",
            f"the key came from pgsodium with the number {row['derivation_id']} and the context {row['context']}: "
            "every member of pgkeymgr_user can use it by that number, without a grant, and even after it was "
            "disabled or destroyed",
            "Rotate the root key: after that, the number stands for another key. Or make a key with create_key(), "
            "which has no number, encrypt the data of this key under it, and destroy this key with force => true.",
        )
