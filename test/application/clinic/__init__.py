"""A clinic: a Django project with one app."""
