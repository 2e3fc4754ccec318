"""Sphinx extension: the light and the dark version of a figure are one figure, with one caption.

A cell of a notebook makes one picture. The light version comes first; the next cell makes the dark
one, and carries the number, the anchor and the caption. Here the light picture moves to the dark
one, so that the caption stands under whichever is shown, and a link finds both.
"""

from typing import Any

from docutils import nodes


def join_pairs(app: Any, doctree: nodes.document, docname: str) -> None:
    """Move each light picture into the figure of its dark version."""
    light = None
    for node in list(doctree.findall(nodes.image)):
        classes = node.get("classes", [])
        if "only-light" in classes:
            light = node
        elif "only-dark" in classes and light is not None:
            if isinstance(node.parent, nodes.figure):
                light.parent.remove(light)
                node.parent.insert(node.parent.index(node), light)
            light = None


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", join_pairs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
