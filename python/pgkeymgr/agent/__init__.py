"""The agent: a process outside PostgreSQL that holds the root key, and what backends ask it with."""
