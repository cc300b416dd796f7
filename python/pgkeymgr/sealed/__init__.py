"""Secrets that a client seals to the session, so that no statement, parameter or log has them in the clear."""
