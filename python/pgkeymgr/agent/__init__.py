"""The agent, a process outside PostgreSQL that holds the root key, and its clients in the backends."""
