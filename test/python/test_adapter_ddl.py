"""DDL of frameworks, as the adapters send it to base tables."""

import pytest
from pgkeymgr.adapter.ddl import finder, on_base, without_view
from pgkeymgr.adapter.tables import EncryptedColumn, EncryptedTable, EncryptedTables

CUSTOMER = EncryptedTable(
    schema="public",
    name="customer",
    base_schema="public",
    base="customer_encrypted",
    is_visible=True,
    extension_schema="pgkeymgr",
    definition=" SELECT b.id\n   FROM public.customer_encrypted b;",
    columns={"ssn": EncryptedColumn("ssn", "ssn_cipher", default="'x'::text")},
)
ODD = EncryptedTable("S", 'a"b', "S", "c d", False, "pgkeymgr", "")
FIND = finder(EncryptedTables([CUSTOMER, ODD]))
BASE = '"public"."customer_encrypted"'


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("ALTER TABLE customer ADD COLUMN a int", f"ALTER TABLE {BASE} ADD COLUMN a int"),
        ('ALTER TABLE "customer" ADD COLUMN a int', f"ALTER TABLE {BASE} ADD COLUMN a int"),
        ("ALTER TABLE public.customer ADD a int", f"ALTER TABLE {BASE} ADD a int"),
        ('\nALTER TABLE "S"."a""b" ADD a int', '\nALTER TABLE "S"."c d" ADD a int'),
        ('ALTER TABLE "a""b" ADD a int', 'ALTER TABLE "a""b" ADD a int'),
        ('ALTER TABLE "Customer" ADD a int', 'ALTER TABLE "Customer" ADD a int'),
        ("ALTER TABLE customers ADD a int", "ALTER TABLE customers ADD a int"),
        ("ALTER TABLE customer RENAME TO client", "ALTER TABLE customer RENAME TO client"),
        ("ALTER TABLE customer RENAME COLUMN a TO b", "ALTER TABLE customer RENAME COLUMN a TO b"),
        ("ALTER TABLE customer RENAME CONSTRAINT a TO b", f"ALTER TABLE {BASE} RENAME CONSTRAINT a TO b"),
        ("ALTER TABLE customer ALTER COLUMN ssn SET DEFAULT 'a'", None),
        (
            "ALTER TABLE customer ALTER COLUMN plain DROP DEFAULT",
            f"ALTER TABLE {BASE} ALTER COLUMN plain DROP DEFAULT",
        ),
        (
            'ALTER TABLE customer ALTER COLUMN "ssn" SET NOT NULL, ALTER COLUMN plain DROP NOT NULL',
            f'ALTER TABLE {BASE} ALTER COLUMN "ssn_cipher" SET NOT NULL, ALTER COLUMN plain DROP NOT NULL',
        ),
        (
            'SET CONSTRAINTS "fk" IMMEDIATE; ALTER TABLE "customer" DROP CONSTRAINT "fk"',
            f'SET CONSTRAINTS "fk" IMMEDIATE; ALTER TABLE {BASE} DROP CONSTRAINT "fk"',
        ),
        ('CREATE UNIQUE INDEX "a" ON "customer" ("b")', f'CREATE UNIQUE INDEX "a" ON {BASE} ("b")'),
        ("CREATE INDEX CONCURRENTLY a ON customer (b)", f"CREATE INDEX CONCURRENTLY a ON {BASE} (b)"),
        ("CREATE INDEX a ON other (customer)", "CREATE INDEX a ON other (customer)"),
        (
            "CREATE TABLE a (b int REFERENCES customer (id), FOREIGN KEY(b) REFERENCES other (id))",
            f"CREATE TABLE a (b int REFERENCES {BASE} (id), FOREIGN KEY(b) REFERENCES other (id))",
        ),
        (
            "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION f()",
            f"CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {BASE} FOR EACH ROW EXECUTE FUNCTION f()",
        ),
        ("DROP TRIGGER t ON customer", f"DROP TRIGGER t ON {BASE}"),
        ("DROP TABLE customer", f"DROP TABLE {BASE} CASCADE"),
        ("\nDROP TABLE IF EXISTS customer CASCADE", f"\nDROP TABLE IF EXISTS {BASE} CASCADE"),
        ("COMMENT ON TABLE customer IS 'ALTER TABLE'", "COMMENT ON VIEW customer IS 'ALTER TABLE'"),
        ("COMMENT ON COLUMN customer.ssn IS 'a'", None),
        ("UPDATE customer SET ssn = 'ALTER TABLE'", None),
        ("SELECT 'a' FROM customer", None),
    ],
)
def test_statements_on_the_base_table(statement: str, expected: str | None) -> None:
    assert on_base(statement, FIND) == (statement if expected is None else expected)


@pytest.mark.parametrize(
    ("statement", "is_without", "dropped"),
    [
        ("ALTER TABLE customer ALTER COLUMN plain TYPE text", True, None),
        ('ALTER TABLE "customer" ALTER COLUMN "plain" SET DATA TYPE text', True, None),
        ("ALTER TABLE customer DROP COLUMN plain", True, "plain"),
        ("ALTER TABLE customer DROP COLUMN ssn", False, None),
        ("ALTER TABLE customer DROP CONSTRAINT a", False, None),
        ("ALTER TABLE other DROP COLUMN plain", False, None),
        ("DROP TABLE customer", False, None),
    ],
)
def test_statements_that_the_view_is_in_the_way_of(statement: str, is_without: bool, dropped: str | None) -> None:
    around = without_view(statement, FIND)
    assert (around is not None) == is_without
    if around is not None:
        assert around.dropped == dropped
        after = around.after({None: "it's", "plain": "a", "ssn": "b"})
        assert after[0].startswith('SELECT "pgkeymgr".refresh_encrypted_view(')
        assert after[1] == """COMMENT ON VIEW "public"."customer" IS 'it''s'"""
        assert len(after) == (3 if dropped else 4)


def test_a_view_that_is_not_pgkeymgr_s_own_is_refused() -> None:
    with pytest.raises(ValueError, match="not as pgkeymgr makes it"):
        ODD.value("a", "excluded")
