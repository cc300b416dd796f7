"""The generated pages of docs/ are those that ``make reference`` would make."""

import errors_page
import reference_page
from conftest import Connection


def test_functions_and_views(connection: Connection) -> None:
    assert reference_page.PAGE.read_text() == reference_page.page(connection), "run: make reference"


def test_every_public_function_is_there(connection: Connection) -> None:
    query = (
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pgkeymgr'::regnamespace AND proname !~ '^_'"
    )
    names = {name for (name,) in connection.execute(query)}
    assert len(names) > 100
    assert names <= {entry.name for entry in reference_page.entries(connection)}


def test_errors() -> None:
    assert errors_page.PAGE.read_text() == errors_page.page(), "run: make reference"


def test_the_tree_of_errors() -> None:
    assert errors_page.tree() in errors_page.module().replace("\n    ", "\n")
    assert errors_page.MODULE.read_text() == errors_page.module(), "run: make reference"
