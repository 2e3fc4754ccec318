"""The picture of `softmi cam`: an image, its map in nats, its box, and the account in words.

Drawn with Pillow alone: matplotlib is no dependency of the library.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Okabe and Ito: told apart in every common form of colour blindness.
FOR, AGAINST, BOX = (213, 94, 0), (0, 114, 178), (0, 158, 115)
INK, FAINT, PAPER = (34, 34, 34), (110, 110, 110), (255, 255, 255)
OPAQUE = 0.85  # where the map is at the end of its scale
SIDE, MARGIN, GAP, SCALE, NARROWEST = 480, 20, 20, 18, 560
TEXT, TITLE = 17, 20


def cam_figure(
    image: Image.Image,
    nats: Float[Tensor, "height width"],
    box: Sequence[int],
    title: str,
    rows: Sequence[tuple[str, str]],
    unit: str = "nats a cell",
) -> Image.Image:
    """Draw the image with its box beside its map, with a scale, and numbers below.

    Args:
        image: RGB, of any size.
        nats: The map, stretched over the image.
        box: x0 y0 x1 y1 in pixels of the image, x1 and y1 exclusive; empty: none is drawn.
        title: One line above; what the page is too narrow for is cut.
        rows: Lines of text below, each a number and what it is.
        unit: Of the map, beside the scale.

    """
    width, height = panel_size(image.size)
    limit = float(nats.abs().max())
    body, head = ImageFont.load_default(TEXT), ImageFont.load_default(TITLE)
    title, rows = drawable(title), [(drawable(a), drawable(b)) for a, b in rows]
    ends = [f"{limit:+.3g}", "0", f"{-limit:+.3g}"]
    room = SCALE + 6 + int(max(body.getlength(end) for end in ends))
    column = int(max(body.getlength(number) for number, _ in rows)) + 10
    needed = column + max(body.getlength(what) for _, what in rows)
    page_width = 2 * MARGIN + max(2 * width + 2 * GAP + room, int(needed) + 1, NARROWEST)
    top = MARGIN + 2 * TITLE + TEXT
    tall = max(height, 120)  # the scale needs as much
    page_height = top + tall + GAP + len(rows) * (TEXT + 8) + MARGIN
    page = Image.new("RGB", (page_width, page_height), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), shortened(title, head, page_width - 2 * MARGIN), INK, head)

    left, right = MARGIN, MARGIN + width + GAP
    shown = image.resize((width, height), Image.Resampling.LANCZOS)
    grey = np.asarray(shown.convert("L"), dtype=np.float32)[..., None].repeat(3, 2)
    overlaid = blend(0.5 * grey + 0.5 * 255, stretch(nats, (width, height)), limit)
    scaled = panel_box(box, image.size)
    for x, panel, name in ((left, shown, "image"), (right, overlaid, "map")):
        draw.text((x, top - TEXT - 6), name, FAINT, body)
        page.paste(panel, (x, top))
        if box[2] > box[0] and box[3] > box[1]:
            outline(draw, [scaled[0] + x, scaled[1] + top, scaled[2] + x, scaled[3] + top])

    x = right + width + GAP
    values = np.linspace(limit, -limit, tall, dtype=np.float32)[:, None].repeat(SCALE, 1)
    page.paste(blend(np.full((tall, SCALE, 3), 200.0), values, limit), (x, top))
    for y, end in zip((top, top + tall // 2, top + tall), ends, strict=True):
        anchor = {top: "la", top + tall: "ld"}.get(y, "lm")
        draw.text((x + SCALE + 6, y), end, INK, body, anchor=anchor)
    draw.text((page_width - MARGIN, top - TEXT - 6), unit, FAINT, body, anchor="ra")
    for i, (number, what) in enumerate(rows):
        y = top + tall + GAP + i * (TEXT + 8)
        draw.text((MARGIN + column - 10, y), number, INK, body, anchor="ra")
        draw.text((MARGIN + column, y), what, INK, body)
    return page


def panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a panel: the image enlarged or reduced to a longer side of `SIDE`."""
    longer = max(size)
    return max(1, round(size[0] * SIDE / longer)), max(1, round(size[1] * SIDE / longer))


def panel_box(box: Sequence[int], size: tuple[int, int]) -> list[int]:
    """Corners x0 y0 x1 y1 of a box in pixels of a panel, x1 and y1 inclusive."""
    ratios = [panel / own for panel, own in zip(panel_size(size), size, strict=True)]
    x0, y0, x1, y1 = (round(edge * ratios[i % 2]) for i, edge in enumerate(box))
    return [x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)]


def stretch(nats: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Lay a map over so many pixels, smoothly and without leaving its range."""
    wide = F.interpolate(nats[None, None].float(), size=size[::-1], mode="bicubic")[0, 0]
    return wide.clamp(float(nats.min()), float(nats.max())).numpy()


def blend(under: np.ndarray, values: np.ndarray, limit: float) -> Image.Image:
    """Colour by sign, as strongly as the value is large; zero lets through what is under it."""
    strength = np.abs(values) / limit if limit > 0 else np.zeros_like(values)
    alpha = (OPAQUE * strength.clip(0, 1))[..., None]
    colours = np.where(values[..., None] > 0, np.float32(FOR), np.float32(AGAINST))  # type: ignore[arg-type]
    return Image.fromarray(((1 - alpha) * under + alpha * colours).round().astype(np.uint8))


def outline(draw: ImageDraw.ImageDraw, box: list[int]) -> None:
    """A frame of three pixels, white on both sides, seen on any ground."""
    x0, y0, x1, y1 = box
    for grow, colour in ((2, PAPER), (1, BOX), (0, BOX), (-1, BOX), (-2, PAPER)):
        if x1 - x0 + 2 * grow >= 0 and y1 - y0 + 2 * grow >= 0:
            draw.rectangle([x0 - grow, y0 - grow, x1 + grow, y1 + grow], outline=colour)


def drawable(text: str) -> str:
    """Text in the letters that Pillow's own font has: plain ASCII."""
    plain = unicodedata.normalize("NFKD", text.replace("−", "-"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in plain)


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of a line as fits."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
