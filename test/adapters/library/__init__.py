"""A small Django application: ``test/python/test_django_adapter.py`` migrates it and uses it."""
