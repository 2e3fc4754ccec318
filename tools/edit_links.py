"""Sphinx extension: "suggest edit" on a chapter leads to its .py, not to the built .ipynb."""

from typing import Any

from sphinx.application import Sphinx


def lead_to_source(app: Sphinx, pagename: str, template: str, context: dict[str, Any], _: Any):
    """Rewrite the address of the edit button, which the theme made from the page's own file."""
    buttons = list(context.get("header_buttons", []))
    while buttons:
        button = buttons.pop()
        buttons += button.get("buttons", [])
        if button.get("label") == "source-edit-button":
            button["url"] = button["url"].replace(".ipynb", ".py")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect after the theme's own handlers, which have priority 501."""
    app.connect("html-page-context", lead_to_source, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
