"""The experiments of the book's chapters: recipes, runs and summaries; not part of the wheel."""
