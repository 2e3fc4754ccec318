"""How the Markdown of a page reads."""

import re


def as_shown(markdown: str) -> str:
    """Text with its roles, such as links to the glossary, as a reader sees them."""
    return re.sub(r"\{[a-z:]+\}`([^`<\n]*?)(?: <[^`\n]*>)?`", r"\1", markdown)
