"""The migrations of the clinic."""
