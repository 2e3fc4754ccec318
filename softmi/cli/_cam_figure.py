"""The picture of `softmi cam`: an image, its map in nats, its box, and the account in words."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from softmi.maps import map_to_picture

# Okabe and Ito: told apart in every common form of colour blindness.
FOR, AGAINST, BOX = (213, 94, 0), (0, 114, 178), (0, 158, 115)
OPAQUE = 0.85  # where the map is at the end of its scale
DPI, SIDE = 100, 480  # pixels an inch, and of the map before it is laid over the image
# As strong as the value is large; zero lets through what is under it.
_VALUES = np.linspace(-1, 1, 1023)[:, None]
SIGNED = ListedColormap(
    np.hstack([np.where(_VALUES > 0, FOR, AGAINST) / 255, OPAQUE * np.abs(_VALUES)])
)


def cam_figure(
    image: Image.Image,
    nats: Float[Tensor, "height width"],
    box: Sequence[int],
    title: str,
    rows: Sequence[tuple[str, str]],
    unit: str = "nats a cell",
) -> Figure:
    """Draw the image with its box beside its map, with a scale, and numbers below.

    Args:
        image: RGB, of any size.
        nats: The map, stretched over the image.
        box: x0 y0 x1 y1 in pixels of the image, x1 and y1 exclusive; empty: none is drawn.
        title: One line above.
        rows: Lines of text below, each a number and what it is.
        unit: Of the map, beside the scale.

    """
    width, height = image.size
    tall = min(max(4.6 * height / width, 1.5), 5)
    figure = Figure((11, tall + 1.2 + 0.25 * len(rows)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2)
    panels[0].imshow(image)
    panels[1].imshow(image.convert("L"), cmap="gray", vmin=-255, vmax=255)
    # Bicubic interpolation may leave the range of the map.
    values = map_to_picture(nats[None].float(), SIDE)[0].clamp(nats.min(), nats.max()).numpy()
    limit = float(nats.abs().max()) or 1.0
    extent = panels[0].images[0].get_extent()
    over = panels[1].imshow(values, SIGNED, vmin=-limit, vmax=limit, extent=extent)
    figure.colorbar(over, ax=panels, label=unit)
    for panel, name in zip(panels, ("image", "map"), strict=True):
        panel.set(xticks=[], yticks=[])
        panel.set_title(name, loc="left")
        if box[2] > box[0] and box[3] > box[1]:
            # Edges of pixels lie half a pixel beside their centres, which imshow counts.
            corner, sides = (box[0] - 0.5, box[1] - 0.5), (box[2] - box[0], box[3] - box[1])
            frame = Rectangle(corner, *sides, fill=False, color=np.divide(BOX, 255), zorder=3)
            frame.set_linewidth(2.2)
            frame.set_path_effects([withStroke(linewidth=4, foreground="white")])
            panel.add_patch(frame).set_clip_on(False)
    place = {"x": 0.01, "ha": "left", "size": "medium", "parse_math": False}
    figure.suptitle(title, **place)
    column = max(len(number) for number, _ in rows)
    account = "\n".join(f"{number:>{column}}  {what}" for number, what in rows)
    figure.supxlabel(account, **place, family="monospace")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a file; letters that the font lacks are drawn as boxes."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
