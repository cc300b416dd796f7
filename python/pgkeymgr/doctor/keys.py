"""Whether keys expire, or have been used for too long."""

from collections.abc import Iterator

from ..key.table import DERIVED_WRAP_BYTES
from ..root_key.wrap import OVERHEAD_BYTES
from .finding import ERROR, WARNING, Context, Finding, listed

EXPIRY_DAYS = 30

MESSAGES_MAX = 2**32
"""The messages under one key with random nonces of 96 bits, after NIST SP 800-38D, section 8.3.

By then two of them have the same nonce with a probability of 2^-33. That is for AES-GCM; AES-256-GCM-SIV gives
away no more by a repeated nonce than whether two values of one place are equal (RFC 8452): this is a reason to
rotate, and no break.
"""


def check_expiry(context: Context) -> Iterator[Finding]:
    """Find the current versions of keys that have expired, or soon will, and what is encrypted with them."""
    for row in context.rows(
        "SELECT k.id, coalesce(k.name, 'without a name') AS name, k.expires OPERATOR(pg_catalog.<=)"
        " pg_catalog.clock_timestamp() AS is_expired,"
        " pg_catalog.to_char(k.expires, 'YYYY-MM-DD HH24:MI TZ') AS expires, ARRAY("
        " SELECT pg_catalog.format('%s.%I', coalesce(b.oid::pg_catalog.regclass::text, r.name::text),"
        " c.column_name)"
        "  FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
        "  ON r.id OPERATOR(pg_catalog.=) c.relation_id LEFT JOIN pg_catalog.pg_class AS b"
        "  ON b.oid OPERATOR(pg_catalog.=) r.relation::pg_catalog.oid"
        "  WHERE c.key_name OPERATOR(pg_catalog.=) k.name OR c.blind_key OPERATOR(pg_catalog.=) k.id"
        "  OR EXISTS (SELECT FROM {s}.key AS p WHERE p.name OPERATOR(pg_catalog.=) c.key_name"
        "   AND c.key_by IS NOT NULL AND p.family OPERATOR(pg_catalog.=) k.parent_family) ORDER BY 1) AS columns"
        " FROM {s}.key AS k WHERE k.superseded_by IS NULL AND k.state::text OPERATOR(pg_catalog.=) 'enabled'"
        " AND k.expires OPERATOR(pg_catalog.<=) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
        " pg_catalog.make_interval(days => $1)) ORDER BY k.expires, k.id",
        ("integer", EXPIRY_DAYS),
    ):
        columns = row["columns"]
        used = f"; the encrypted columns {listed(columns)} need it" if columns else ""
        if row["is_expired"]:
            yield Finding(
                ERROR,
                f"key {row['id']} ({row['name']})",
                f"it expired at {row['expires']}, and neither encrypts nor decrypts{used}",
                "If it is to be used on, as a superuser: " + _longer(context, row["id"]),
            )
        else:
            yield Finding(
                WARNING,
                f"key {row['id']} ({row['name']})",
                f"it expires at {row['expires']}, and then neither encrypts nor decrypts{used}",
                "CALL rotate_column() for its columns, or supersede_data_key(): the new version lives as long as "
                "this one was meant to. If this one is to be used on, as a superuser: "
                + _longer(context, row["id"]),
            )


def _longer(context: Context, key_id: int) -> str:
    return f"UPDATE {context.database.schema}.key SET expires = ... WHERE id = {key_id};"


def check_use(context: Context) -> Iterator[Finding]:
    """Estimate how many values each key of a randomized column has encrypted."""
    for row in context.rows(
        "SELECT c.key_name AS name, pg_catalog.bool_or(c.key_by IS NOT NULL) AS is_divided,"
        " pg_catalog.sum(b.messages)::bigint AS messages,"
        " pg_catalog.array_agg(pg_catalog.format('%s.%I', b.name, c.column_name) ORDER BY c.id) AS columns"
        " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
        " ON r.id OPERATOR(pg_catalog.=) c.relation_id CROSS JOIN LATERAL ("
        "  SELECT b.oid::pg_catalog.regclass::text AS name, GREATEST(b.reltuples::numeric, 0,"
        "  pg_catalog.pg_stat_get_tuples_inserted(b.oid) OPERATOR(pg_catalog.+)"
        "  pg_catalog.pg_stat_get_tuples_updated(b.oid)) AS messages"
        "  FROM pg_catalog.pg_class AS b WHERE b.oid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid) AS b"
        " WHERE NOT c.deterministic GROUP BY c.key_name"
        " HAVING pg_catalog.sum(b.messages) OPERATOR(pg_catalog.>) $1 ORDER BY c.key_name",
        ("bigint", MESSAGES_MAX),
    ):
        divided = ", all its keys by value together" if row["is_divided"] else ""
        yield Finding(
            WARNING,
            f"key {row['name']}",
            f"it may have encrypted {row['messages']:,} values in {listed(row['columns'])}{divided}; with random "
            f"nonces of 96 bits, {MESSAGES_MAX:,} is the limit (NIST SP 800-38D, 8.3). This is an estimate, of "
            "the table's rows, or those written since its statistics were reset, under versions before this one, "
            "too",
            "CALL rotate_column(); with more rows than that, divide them among keys with key_by. ANALYZE the base "
            "table if it has fewer, and pg_stat_reset_single_table_counters() after the rotation.",
        )


def check_numbers(context: Context) -> Iterator[Finding]:
    """Find the keys of the table that can be used by a number, without a grant: pgsodium gave them that number."""
    for row in context.rows(
        "SELECT k.id, coalesce(k.name, k.uuid::pg_catalog.text) AS name, k.derivation_id,"
        " pg_catalog.encode(k.context, 'escape') AS context"
        " FROM {s}.key AS k JOIN {s}.key_wrap AS w ON w.key_id OPERATOR(pg_catalog.=) k.id"
        " WHERE k.derivation_id IS NOT NULL AND w.kind::pg_catalog.text OPERATOR(pg_catalog.=) 'root'"
        # Its wrap does not hold the key, which is derived each time. A rotation of the root key puts it in there.
        " AND pg_catalog.octet_length(w.wrapped) OPERATOR(pg_catalog.=) $1 ORDER BY k.id",
        ("integer", OVERHEAD_BYTES + DERIVED_WRAP_BYTES),
    ):
        yield Finding(
            WARNING,
            f"key {row['id']} ({row['name']})",
            f"it came from pgsodium with the number {row['derivation_id']} and the context {row['context']}: "
            "every member of pgkeymgr_user can use it by that number, without a grant, and after it was disabled "
            "or destroyed",
            "Rotate the root key: the number is another key then. Or encrypt what it has encrypted with a key of "
            "create_key(), which has no number, and destroy this one with force => true.",
        )
