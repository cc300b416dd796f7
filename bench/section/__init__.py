"""What is measured: each module has a function ``measure`` that returns works."""
