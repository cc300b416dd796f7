"""The tests of the clinic."""
