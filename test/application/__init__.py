"""Three ordinary applications of PostgreSQL, which know nothing of pgkeymgr, and their own test suites.

A clinic on Django, a shop on SQLAlchemy, a payroll on psycopg. test/python/test_application.py runs each on
plain tables and on tables with encrypted columns, and compares the results.
"""
