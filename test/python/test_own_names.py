"""The names of PostgreSQL's own functions and operators in definitions, with their schema."""

import pytest
from pgkeymgr.column.own_names import with_schemas


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "((array_length(a, 1) < 3) AND own.ok(a))",
            "((pg_catalog.array_length(a, 1) OPERATOR(pg_catalog.<) 3) AND own.ok(a))",
        ),
        ("(s = ANY (ARRAY['a'::own.\"E (\", 'f(x) = 1'::own.e]))", None),
        ("(\"f(\" OPERATOR(own.@@) 'it''s = f(x)'::text)", "same"),
        ("(\"substring\"((a)::text, 1) ~~ '%'::text)", None),
        (
            "((n)::numeric(10,2) > (- 1.5))",
            "((n)::numeric(10,2) OPERATOR(pg_catalog.>) (OPERATOR(pg_catalog.-) 1.5))",
        ),
        ("(t)::timestamp(3) without time zone IS NULL", "same"),
        ("(t)::interval day to second(3) IS NULL", "same"),
        ("(c)::character varying(5)[] IS NULL", "same"),
        ("COALESCE(a, b) AND (EXTRACT(year FROM d) IS NULL)", "same"),
        ("own.f(a => 1, b => lower(x))", "own.f(a => 1, b => pg_catalog.lower(x))"),
        ("(j ?| '{a}'::text[])", "(j OPERATOR(pg_catalog.?|) '{a}'::text[])"),
        ("CASE\n    WHEN a THEN own.ok(b)\n    ELSE true\nEND", "same"),
    ],
)
def test_names(given: str, expected: str | None) -> None:
    if expected is None:
        expected = given.replace(" = ANY", " OPERATOR(pg_catalog.=) ANY").replace("~~", "OPERATOR(pg_catalog.~~)")
        expected = expected.replace('("substring"', '(pg_catalog."substring"')
    assert with_schemas(given) == (given if expected == "same" else expected)


@pytest.mark.parametrize(
    "given", ["(a IS NOT DISTINCT FROM b)", "NULLIF(a, b) IS NULL", "CASE a\n    WHEN 1 THEN true\nEND"]
)
def test_operators_that_cannot_be_named(given: str) -> None:
    assert with_schemas(given) is None
    assert with_schemas(given.lower()) is not None
