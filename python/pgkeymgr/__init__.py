"""pgkeymgr: keys and column encryption inside PostgreSQL; what its SQL functions call."""

__version__ = "0.1.0"
