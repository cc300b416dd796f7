"""Writes PostgreSQL's own functions and operators in a definition with their schema.

PostgreSQL leaves out the schema pg_catalog when it writes a definition. In a search_path that begins with
pg_catalog, such a name still means another function if that has the very types of the arguments, and
PostgreSQL's takes any array, enum, range or row.

Source: src/backend/utils/adt/ruleutils.c, parser/parse_func.c and parser/parse_oper.c of PostgreSQL
"""

import re

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_WORDS = "varying|precision|without|with|time|zone|year|month|day|hour|minute|second|to"
_TOKEN = re.compile(
    rf"""
    (?P<kept>
        '(?:[^']|'')*'
        # a type, with its modifier
        | ::\s*{_NAME}(?:\.{_NAME})?(?:\(\s*-?\d+(?:\s*,\s*-?\d+)*\s*\))?(?:\ (?:{_WORDS})\b(?:\(\d+\))?)*
        | OPERATOR\({_NAME}\.[^\s\w()]+\)
        | {_NAME}(?:\s*\.\s*{_NAME})+
        | [0-9][\w.]*
        | =>
    )
    | (?P<function> (?:"(?:[^"]|"")+"|[a-z_][\w$]*) ) (?=\()
    # PostgreSQL looks up the operator = for these, and they cannot name it.
    | (?P<unnamed> \bDISTINCT\s+FROM\b | \bNULLIF\b | \bCASE\b(?!\s+WHEN\b) )
    | (?P<word> {_NAME} )
    | (?P<operator> [-+*/<>=~!@#%^&|`?]+ )
    """,
    re.VERBOSE,
)


def with_schemas(expression: str) -> str | None:
    """Return an expression in which no name depends on the search_path.

    Args:
        expression: an expression as PostgreSQL writes it under ``search_path`` = pg_catalog.

    Returns:
        The expression; None if it has a construct whose operator SQL cannot name.
    """
    is_named = True

    def write(found: re.Match[str]) -> str:
        nonlocal is_named
        if found["function"]:
            return f"pg_catalog.{found['function']}"
        if found["operator"]:
            return f"OPERATOR(pg_catalog.{found['operator']})"
        is_named = is_named and not found["unnamed"]
        return found[0]

    written = _TOKEN.sub(write, expression)
    return written if is_named else None
