"""Write the picture of docs/architecture.md: which package of python/pgkeymgr imports which.

The picture stands between two marks in the page. The import statements are its source. `make reference` runs this.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PACKAGE = TOP / "python" / "pgkeymgr"
PAGE = TOP / "docs" / "architecture.md"

START = "<!-- Made by scripts/architecture_page.py; do not edit. -->\n"
END = "<!-- The end of the generated picture. -->\n"

# Every package uses them, so that their arrows would only hide the others.
_EVERYWHERE = {"errors"}


def room(module: str) -> str:
    """Return the package, or the top-level module, that a module belongs to.

    Args:
        module: its full name, such as ``pgkeymgr.key.table``.
    """
    return module.split(".")[1]


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of the modules of pgkeymgr that a module imports."""
    package = ["pgkeymgr", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            if module == "pgkeymgr":
                yield from (f"{module}.{alias.name}" for alias in node.names)
            elif module.startswith("pgkeymgr."):
                yield module


def arrows() -> list[tuple[str, str]]:
    """Return which package imports which, sorted."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        source = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        for module in imported(path):
            target = room(module)
            if target != source and target not in _EVERYWHERE and (PACKAGE / target).is_dir():
                found.add((source, target))
    return sorted(found)


def picture() -> str:
    """Return the picture, as a Mermaid graph in a code block."""
    lines = "".join(f"    {source} --> {target}\n" for source, target in arrows())
    return f"{START}```mermaid\ngraph TD\n{lines}```\n{END}"


def page(text: str) -> str:
    """Return the text of the page with the picture of the present code."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + picture() + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
