"""pgkeymgr: keys and column encryption inside PostgreSQL. The extension's SQL functions call this package.

Other programs may import ``pgkeymgr.client`` and ``pgkeymgr.errors``. All other modules are private.
"""

__version__ = "1.0.0"
