"""The measurements: each module has a function ``measure`` that returns works."""
