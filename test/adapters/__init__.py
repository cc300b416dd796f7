"""The test suites of Django and SQLAlchemy on encrypted tables: ``django_suite.py``, ``sqlalchemy_suite.py``."""
