"""Make docs/errors.md from the classes of pgkeymgr.errors: their SQLSTATE and the first line of their docstring.

The tree of the classes in the docstring of that module is made, too. `make reference` runs this.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pgkeymgr import errors
from psycopg.errors import lookup

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "errors.md"
MODULE = TOP / "python" / "pgkeymgr" / "errors.py"

_HEAD = """\
<!-- Made by scripts/errors_page.py from python/pgkeymgr/errors.py; do not edit. -->
# Errors

Every error that a function of pgkeymgr raises has one of the SQLSTATEs below, a message that names the object,
and, where something can be done, a hint. No message holds a key, a plaintext or a passphrase. Test the SQLSTATE,
not the text, which may change between versions:

```sql
BEGIN
    PERFORM token_decrypt(token);
EXCEPTION
    WHEN data_exception THEN  -- 22000: altered, cut, or another key's
        ...
END;
```

```python
try:
    connection.execute("SELECT token_decrypt(%s)", (token,))
except psycopg.errors.DataException:
    ...
```

| SQLSTATE | condition name | meaning | Python class |
|---|---|---|---|
"""

_FOOT = """
`WHEN` in PL/pgSQL accepts the condition name, and psycopg has a class of the same name in camel case.
`pgkeymgr.client` and the key providers raise the Python classes, which are in `pgkeymgr.errors`. They form a tree:

```text
{tree}
```

Errors that PostgreSQL itself raises keep their own SQLSTATEs: 42501 for a function that the role may not execute,
and the codes of constraints and of data types. The triggers of encrypted tables raise the codes of a plain table:
23502 and 23514 for NOT NULL and CHECK, 428C9 for a generated column, 40001 for a row that another transaction has
changed, and 27000 for one that an action of the same statement has changed.
"""


def classes(root: type[errors.Error] = errors.Error, depth: int = 0) -> Iterator[tuple[int, type[errors.Error]]]:
    """Yield an error class and all classes below it, each with its depth, as a tree is printed."""
    yield depth, root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child, depth + 1)


def tree() -> str:
    """Return the tree of the classes with their SQLSTATEs, as the docstring of pgkeymgr.errors has it."""
    return "\n".join(f"{'    ' * depth + kind.__name__:<28}{kind.sqlstate}" for depth, kind in classes())


def condition(sqlstate: str) -> str:
    """Return PostgreSQL's name of a SQLSTATE, or a dash for one of our own; psycopg names its class after it."""
    try:
        name = lookup(sqlstate).__name__
    except KeyError:
        return "-"
    return re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower()


def page() -> str:
    """Return the text of docs/errors.md."""
    rows = []
    for depth, kind in classes():
        # The root stands for what has no class of its own.
        if depth:
            meaning = (kind.__doc__ or "").splitlines()[0]
            name = condition(kind.sqlstate)
            rows.append(
                (
                    kind.sqlstate,
                    f"| {kind.sqlstate} | {name} | {meaning} | `{kind.__name__}` |",
                )
            )
    # Classes that share a SQLSTATE stay in the order of the module.
    rows.sort(key=lambda row: row[0])
    return _HEAD + "".join(f"{row}\n" for _, row in rows) + _FOOT.format(tree=tree())


def module() -> str:
    """Return the text of errors.py with the tree that is to stand at its head."""
    marked = re.compile(r"(?<=\nThe classes and their SQLSTATEs:\n\n).*?(?=\"\"\"\n)", re.DOTALL)
    return marked.sub(textwrap.indent(tree(), "    ") + "\n", MODULE.read_text(), count=1)


if __name__ == "__main__":
    PAGE.write_text(page())
    MODULE.write_text(module())
