"""The names of roles and databases, which databases with different encodings share."""


def valid_name(name: str) -> str:
    """SQL: the name of a role or a database as text, or an error if it is not valid in this database's encoding.

    A role that may make databases and roles can give them such a name in a database with another encoding.
    PL/Python crashes the server when a query returns a text that is not valid.

    Args:
        name: an expression of any type that has a text form.
    """
    encoding = "pg_catalog.getdatabaseencoding()"
    return f"pg_catalog.convert_from(pg_catalog.convert_to(({name})::pg_catalog.text, {encoding}), {encoding})"
