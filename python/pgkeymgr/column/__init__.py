"""Encrypted columns: base tables that hold ciphertext, and the views that show what is in them."""
