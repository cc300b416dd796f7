"""Pieces of PL/pgSQL that the generated trigger functions are made of.

The functions set no ``search_path``, since the triggers of the user's tables run in them: every function,
operator, relation and type in them is qualified, and so is every column. The names of variables begin with
``VARIABLE``, and a name that could be a variable's is one: no column of a table can stand in for it.
"""

from .quoting import quote_literal

VARIABLE = "pgkeymgr_"
"""The beginning of the names of all variables."""

_INDENT = "    "


def body(declarations: list[str], statements: list[str], conflict: str = "use_variable") -> str:
    """Return the body of a function.

    Args:
        declarations: the declarations of its variables.
        statements: the statements at its top level.
        conflict: the meaning of a name that both a variable and a column have; FOUND is also a variable.
    """
    lines = [f"#variable_conflict {conflict}"]
    if declarations:
        lines += ["DECLARE", *indent(declarations)]
    return "\n".join([*lines, "BEGIN", *indent(statements), "END"]) + "\n"


def indent(lines: list[str]) -> list[str]:
    """Return the lines of a block. Only the first line of a statement is indented: others may be in a literal."""
    return [_INDENT + line for line in lines]


def if_then(condition: str, statements: list[str], otherwise: list[str] | None = None) -> list[str]:
    """Return the lines of an IF.

    Args:
        condition: the condition under which the statements run.
        statements: its statements, at least one.
        otherwise: the statements of its ELSE.
    """
    lines = [f"IF {condition} THEN", *indent(statements)]
    if otherwise:
        lines += ["ELSE", *indent(otherwise)]
    return [*lines, "END IF;"]


def if_chain(branches: list[tuple[str, list[str]]]) -> list[str]:
    """Return the lines of an IF with an ELSIF for each further condition.

    Args:
        branches: pairs of a condition and its statements, at least one. The first true condition decides.
    """
    lines: list[str] = []
    for number, (condition, statements) in enumerate(branches):
        lines += [f"{'ELSIF' if number else 'IF'} {condition} THEN", *indent(statements)]
    return [*lines, "END IF;"]


def raise_error(sqlstate: str, message: str, *, table: str, schema: str, hint: str = "", column: str = "") -> str:
    """Return the statement that raises an error about a table.

    Args:
        sqlstate: its SQLSTATE.
        message: the message, which names the table.
        table: the table's name for the client's use.
        schema: the table's schema for the client's use.
        hint: the hint, if there is something to do.
        column: the column that the error is about, if any.
    """
    options = {
        "MESSAGE": message,
        "HINT": hint,
        "COLUMN": column,
        "TABLE": table,
        "SCHEMA": schema,
    }
    given = "".join(f", {name} = {quote_literal(text)}" for name, text in options.items() if text)
    return f"RAISE EXCEPTION USING ERRCODE = '{sqlstate}'{given};"
