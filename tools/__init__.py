"""Build scripts of the book: run each with `python -m tools.NAME` from the repository root."""
