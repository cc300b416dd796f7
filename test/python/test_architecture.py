"""The table of modules in docs/architecture.md names modules that exist, and each of them once."""

import re

import architecture_page

HEAD = "| subject | modules |\n|---|---|\n"


def test_the_table_names_each_module_once() -> None:
    _, after = architecture_page.PAGE.read_text(encoding="utf-8").split(HEAD)
    rows = after[: after.index("\n\n")].splitlines()
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[2])]
    modules = {path.stem for path in (architecture_page.PACKAGE / "column").glob("*.py")}
    assert len(named) > 50
    assert [name for name in named if name not in modules] == []
    assert len(named) == len(set(named))
