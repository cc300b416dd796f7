"""encrypt_column() sends a notice about the blind index that it makes for UNIQUE, and the plan says the same."""

import column_database
import pytest
from conftest import Connection, rows

server = column_database.server
database = column_database.database
admin = column_database.admin

ALONE = "which values are equal to one that was there before"
TOGETHER = "which rows have equal values, and how often each value occurs"


def said(connection: Connection, *statements: str) -> list[str]:
    """Return the notices about blind indexes that statements send."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    for statement in statements:
        rows(connection, statement)
    return [text.removeprefix("pgkeymgr: ") for text in notices if "blind index" in text]


def notice(column: str, names: str, leak: str) -> str:
    """Return the notice that is expected."""
    return (
        f'the blind index "{column}_bidx" was made for the unique {names} of person: a thief of the files or a'
        f" backup, without the keys, sees in it {leak}"
    )


@pytest.mark.parametrize(
    ("definition", "more", "names", "leak"),
    [
        ("mail text UNIQUE", "", 'index "person_mail_key"', ALONE),
        ("mail text", "CREATE UNIQUE INDEX person_mail ON person (mail)", 'index "person_mail"', ALONE),
        ("mail text, UNIQUE (mail, city)", "", 'index "person_mail_city_key"', TOGETHER),
        ("mail text UNIQUE, UNIQUE (mail, city)", "", 'indexes "person_mail_city_key", "person_mail_key"', ALONE),
    ],
)
def test_the_notice_names_the_facts_that_can_be_seen(
    admin: Connection, definition: str, more: str, names: str, leak: str
) -> None:
    rows(admin, f"CREATE TABLE person (id integer PRIMARY KEY, city text, {definition})")
    rows(admin, more or "SELECT 1")
    plan = rows(admin, "SELECT detail FROM plan_encrypt_column('person', 'mail') WHERE kind = 'leak'")
    assert sum(f"its blind index shows {leak};" in detail for (detail,) in plan) == names.count('"') // 2
    # Once: neither the migration nor the next column repeats it.
    statements = ("SELECT encrypt_column('person', 'mail')", "CALL migrate_column('person', 'mail')")
    assert said(admin, *statements) == [notice("mail", names, leak)]


def test_each_column_of_a_constraint_has_a_blind_index(admin: Connection) -> None:
    rows(admin, "CREATE TABLE person (id integer PRIMARY KEY, city text, mail text, UNIQUE (mail, city))")
    names = 'index "person_mail_city_key"'
    assert said(admin, "SELECT encrypt_column('person', 'mail')", "SELECT encrypt_column('person', 'city')") == [
        notice("mail", names, TOGETHER),
        notice("city", names, TOGETHER),
    ]


def test_no_notice_without_a_blind_index(admin: Connection) -> None:
    rows(admin, "CREATE TABLE person (id integer PRIMARY KEY, city text UNIQUE, mail text)")
    assert said(admin, "SELECT encrypt_column('person', 'mail')") == []
