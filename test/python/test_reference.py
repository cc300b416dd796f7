"""The generated pages of docs/ are those that ``make reference`` would make."""

import architecture_page
import errors_page
import reference_page
from conftest import Connection


def test_functions_and_views(connection: Connection) -> None:
    assert reference_page.PAGE.read_text() == reference_page.page(connection), "run: make reference"


def test_every_public_function_is_there(connection: Connection) -> None:
    query = (
        "SELECT DISTINCT proname FROM pg_proc JOIN pg_depend ON objid = pg_proc.oid AND deptype = 'e'"
        " WHERE classid = 'pg_proc'::regclass AND pronamespace = 'pgkeymgr'::regnamespace AND proname !~ '^_'"
    )
    names = {name for (name,) in connection.execute(query)}
    assert len(names) > 100
    assert names <= {entry.name for entry in reference_page.entries(connection)}


def test_errors() -> None:
    assert errors_page.PAGE.read_text() == errors_page.page(), "run: make reference"


def test_the_tree_of_errors() -> None:
    assert errors_page.tree() in errors_page.module().replace("\n    ", "\n")
    assert errors_page.MODULE.read_text() == errors_page.module(), "run: make reference"


def test_the_picture_of_the_rooms() -> None:
    text = architecture_page.PAGE.read_text()
    assert ("backend", "key") in architecture_page.arrows()
    assert architecture_page.page(text) == text, "run: make reference"


def test_the_page_of_the_architecture_names_every_room() -> None:
    rooms = {path.name for path in architecture_page.PACKAGE.iterdir() if (path / "__init__.py").exists()}
    text = architecture_page.PAGE.read_text()
    missing = {room for room in rooms if f"| `{room}` |" not in text}
    assert missing == set()
