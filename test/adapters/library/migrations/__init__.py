"""Plain tables, encryption, and changes of encrypted tables."""
