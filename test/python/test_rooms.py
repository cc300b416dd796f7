"""The borders between the packages: which of them may import which, by the import statements themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pgkeymgr
import pytest

PACKAGE = Path(pgkeymgr.__file__).parent
TOP_LEVEL = {"__init__", "client", "documents", "errors"}


def modules() -> Iterator[tuple[str, ast.AST]]:
    """Yield the name of each module within the package, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name, ast.parse(path.read_text())


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, by the full names of modules, and of what is imported from them."""
    package = ["pgkeymgr", *name.split(".")][:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def users_of(*targets: str, but: str) -> list[str]:
    """Return the modules outside a package that import one of some modules, each with the import."""
    return [
        f"{name} imports {imported}"
        for name, tree in modules()
        if not name.startswith(f"{but}.")
        for imported in imports(name, tree)
        if any(imported == target or imported.startswith(f"{target}.") for target in targets)
    ]


def test_only_the_public_modules_are_at_the_top_level() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == TOP_LEVEL


def test_only_the_backend_uses_the_server() -> None:
    """PL/Python's plpy, and the backend's own modules with the server's C functions."""
    assert users_of("plpy", "pgkeymgr.backend", but="backend") == []
    assert any("plpy" in set(imports(name, tree)) for name, tree in modules()), "the test finds imports"


@pytest.mark.parametrize("framework", ["django", "sqlalchemy", "alembic"])
def test_only_an_adapter_uses_its_framework(framework: str) -> None:
    """The server has none of them, and an adapter does not need the other's framework."""
    adapter = "django" if framework == "django" else "sqlalchemy"
    assert users_of(framework, f"pgkeymgr.{framework}", but=adapter) == []
    assert any(name.startswith(f"{adapter}.") for name, _ in modules()), "the test finds the adapter"


def test_only_adapters_use_what_they_share() -> None:
    found = users_of("pgkeymgr.adapter", but="adapter")
    assert {each.partition(".")[0] for each in found} == {"django", "sqlalchemy"}


def test_only_the_root_keys_package_touches_raw_root_keys() -> None:
    """Others have a RootKey, which wraps, unwraps and derives, or run the script that prints one for a person."""
    may_make = {
        "agent.keeper",  # holds the root key in the memory of the agent
        "agent.service",  # is given it by the keeper
        "backend.root_key",  # runs the getkey script in a session without an agent
    }
    found = users_of("pgkeymgr.root_key.LocalRootKey", but="root_key")
    assert {each.split()[0] for each in found} == may_make
