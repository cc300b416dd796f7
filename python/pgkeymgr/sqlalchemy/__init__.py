"""A dialect for SQLAlchemy that knows tables with encrypted columns.

    engine = create_engine("postgresql+pgkeymgr://app@/shop")

It is SQLAlchemy's dialect for psycopg 3, for ``create_async_engine``, too, and does the rest for what PostgreSQL
cannot do on a view: docs/sqlalchemy.md. ``pgkeymgr.sqlalchemy.alembic`` has operations for Alembic's migrations.
"""

from sqlalchemy.dialects import registry

from .blind import blind_index
from .dialect import AsyncDialect, Dialect
from .search import search, search_within

__all__ = ["AsyncDialect", "Dialect", "blind_index", "search", "search_within"]

# Packages that were not installed, but are in the path, have no entry point.
registry.register("postgresql.pgkeymgr", "pgkeymgr.sqlalchemy.dialect", "Dialect")
