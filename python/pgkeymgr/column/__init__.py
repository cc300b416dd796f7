"""Encrypted columns: base tables that hold ciphertext, and views that show the plaintext.

In this package, to *seal* a value is to encrypt it for a column and a row, and to *open* a ciphertext is to
decrypt it there. A ciphertext opens only in the place that it was sealed for (``place.py``).
"""
