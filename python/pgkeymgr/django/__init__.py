"""A database backend for Django that knows tables with encrypted columns.

    DATABASES = {"default": {"ENGINE": "pgkeymgr.django", …}}
    INSTALLED_APPS = ["pgkeymgr.django", …]        # for the lookup ``blind``

It is Django's backend for PostgreSQL, and does the rest for what PostgreSQL cannot do on a view: docs/django.md.
Migrations encrypt columns with the operations of ``pgkeymgr.django.migration``.
"""
