"""The code that runs inside a PostgreSQL backend; no other code sees plpy or the server's C functions."""
