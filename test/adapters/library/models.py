"""A table with encrypted columns, and one that refers to it."""

from django.db import models


class Reader(models.Model):
    """Someone who borrows books: all columns but the key and ``branch`` become encrypted."""

    name = models.CharField(max_length=50, db_index=True)
    email = models.CharField(max_length=80, unique=True)
    phone = models.CharField(max_length=20, null=True)
    fines = models.PositiveIntegerField(default=0)
    level = models.CharField(max_length=10, db_default="50%")
    branch = models.CharField(max_length=20, default="main")


class Loan(models.Model):
    """A book that a reader has."""

    reader = models.ForeignKey(Reader, on_delete=models.CASCADE)
    title = models.TextField()
