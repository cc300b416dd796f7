"""The kinds of blind indexes, by their names in SQL."""

EQUALITY = "equality"
"""The kind that finds equal values."""
COMPOUND = "compound"
"""The kind that finds equal values of several columns together."""
TEXT = "text"
"""The kind that finds parts of texts."""
RANGE = "range"
"""The kind that finds values in an interval."""
JSON = "json"
"""The kind that finds parts of JSON values."""
KINDS = (EQUALITY, COMPOUND, TEXT, RANGE, JSON)
