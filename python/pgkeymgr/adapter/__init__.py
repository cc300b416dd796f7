"""The parts that the adapters of frameworks share: ``pgkeymgr.django`` and ``pgkeymgr.sqlalchemy``.

They run in the client, and the backend imports none of them.
"""
