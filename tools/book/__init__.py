"""Pages of the book that are generated from the code."""
