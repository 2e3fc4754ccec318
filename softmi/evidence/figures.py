"""The look of the book's figures: one colour a method, readable in light and dark, safe for all.

Needs seaborn and matplotlib (the `book` extra).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart in every common form of colour blindness.
_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_SKY, _PINK, _GREY, _YELLOW = "#56B4E9", "#CC79A7", "#7A7A7A", "#B8A800"
_WINE, _INDIGO = "#882255", "#332288"  # Tol's muted palette: two more that are safe
# For methods that one chapter alone compares: its table of methods names their hue.
HUES = {
    "blue": _BLUE,
    "orange": _ORANGE,
    "green": _GREEN,
    "red": _RED,
    "sky": _SKY,
    "pink": _PINK,
    "grey": _GREY,
    "yellow": _YELLOW,
    "wine": _WINE,
    "indigo": _INDIGO,
}
METHOD_COLOURS = {
    "truth": "#444444",
    "PC-softmax": _BLUE,
    "softmax": _ORANGE,
    "softmax + H(Y)": _ORANGE,
    "softmax + log M": _RED,
    "post-hoc": _GREEN,
    "CAM": _GREY,
    "infoCAM": _BLUE,
    "infoCAM+": _SKY,
    "rivals": _PINK,
    "centred box": _YELLOW,
    "true box": _GREEN,
    "extrapolated": _INDIGO,
    "MINE": _PINK,
    "DV": _WINE,
    "NWJ": _RED,
    "InfoNCE": _GREEN,
    "SMILE": _SKY,
    "nearest neighbours": _YELLOW,
    "logistic regression": _GREY,
}
# The dark page: the theme's ground and text, and each colour in its own hue, light enough there.
DARK_GROUND, _DARK_TEXT, _DARK_LINES = "#121212", "#CED6DD", "#444444"
_ON_DARK = {
    "#444444": "#DDDDDD",
    _BLUE: "#3D9BE0",
    _ORANGE: "#F0B32E",
    _GREEN: "#1FBF92",
    _RED: "#EE6A1F",
    _SKY: "#A3D9F7",
    _PINK: "#EBA6CB",
    _GREY: "#A0A0A0",
    _YELLOW: "#D6C72E",
    _WINE: "#CC5590",
    _INDIGO: "#8C7BE8",
}
_DARK_STYLE = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "patch.edgecolor"), DARK_GROUND),
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "lines.color"), _DARK_TEXT
    ),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), _DARK_LINES),
}


def colour(method: str) -> str:
    """Colour of a method in the style that is on, the same in every figure of the book.

    Raises:
        KeyError: A method without a colour; the message lists those that have one.

    """
    try:
        found = METHOD_COLOURS[method]
    except KeyError:
        raise KeyError(f"no colour for {method!r}; known: {sorted(METHOD_COLOURS)}") from None
    return _in_style(found)


def hue(name: str) -> str:
    """Colour of the palette by its name, one of `HUES`, in the style that is on.

    Raises:
        KeyError: No such hue; the message lists those there are.

    """
    if name not in HUES:
        raise KeyError(f"no hue {name!r}; known: {', '.join(HUES)}")
    return _in_style(HUES[name])


def _in_style(found: str) -> str:
    return _ON_DARK[found] if plt.rcParams["figure.facecolor"] == DARK_GROUND else found


def use_style(*, dark: bool = False) -> None:
    """Set the book's style: no frame, text of at least nine points at 720 pixels.

    Figures stand on a white card, or, if `dark`, on the ground of the dark page.
    """
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        rc={
            "figure.figsize": (7.2, 3.6),
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "legend.frameon": False,
            "svg.hashsalt": "softmi",  # the same figure gives the same file
        }
        | (_DARK_STYLE if dark else {}),
    )


@contextmanager
def dark_style() -> Iterator[None]:
    """Draw in the dark style within the `with` block, and in what was set before after it."""
    with plt.rc_context():
        use_style(dark=True)
        yield


def label_line(axes: Axes, x: float, y: float, method: str, text: str | None = None) -> None:
    """Write a method's name, or another `text` for it, beside its line, in its colour."""
    axes.annotate(
        text or method,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=colour(method),
    )


def save_figure(figure: Figure, path: Path) -> Path:
    """Save a figure without a date in it, so that the same figure gives the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    return path
