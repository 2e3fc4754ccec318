r"""Boxes that see nothing, and the table that sets them beside every result.

Objects of photographs are large and in the middle, so a box there is right more often than many
maps: on CUB a centred box beats plain CAM. A localisation result means little without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from softmi._checks import check_shape
from softmi.maps._sweep import iou_with_best
from softmi.maps.accuracy import V2_IOUS

SIDES = tuple(round(0.05 * i, 2) for i in range(2, 21))
TrueBoxes = Num[Tensor, "_ 4"] | Sequence[Num[Tensor, "_ 4"]]


def centred_box(
    image_size: tuple[int, int], side: float, *, inclusive: bool = False
) -> Float[Tensor, " 4"]:
    r"""Box in the middle of the picture, the same whatever it shows.

    .. math:: \tfrac12 \bigl(w (1 - a),\; h (1 - a),\; w (1 + a),\; h (1 + a)\bigr)

    with the picture's width w and height h and the side a, as a share of both.

    Args:
        image_size: Height and width in pixels.
        side: a in (0, 1]; 1 is the whole picture.
        inclusive: x1 and y1 are the last pixel, one less.

    Raises:
        ValueError: A side outside (0, 1], or a picture without pixels.

    """
    height, width = image_size
    if not 0 < side <= 1 or height < 1 or width < 1:
        raise ValueError(f"need a side in (0, 1] and a picture, got {side} and {image_size}")
    size = torch.tensor([width, height], dtype=torch.float64)
    start, end = size * (1 - side) / 2, size * (1 + side) / 2
    # A box is never less than a pixel.
    return torch.cat([start, torch.maximum(end - 1, start) if inclusive else end])


def _hits(
    image_size: tuple[int, int],
    side: float,
    boxes: TrueBoxes,
    inclusive: bool,
) -> Float[Tensor, " images"]:
    box = centred_box(image_size, side, inclusive=inclusive).expand(len(boxes), 4)
    return iou_with_best(box, boxes, inclusive=inclusive)


def best_centred_side(
    boxes: TrueBoxes,
    image_size: tuple[int, int],
    *,
    iou_threshold: float = 0.5,
    sides: Sequence[float] = SIDES,
    inclusive: bool = False,
) -> float:
    r"""Side of the centred box that is right most often, the smallest of those that tie.

    .. math:: \arg\max_a \frac1N \sum_n \mathbb{1}[\mathrm{IoU}(\mathrm{box}_a, B_n) \ge \delta]

    Args:
        boxes: :math:`B_n` of *held-out* images: shape (images, 4), or a list with the boxes of
            each image, shapes (boxes, 4).
        image_size: Height and width, of all images.
        iou_threshold: :math:`\delta`.
        sides: The sides a to choose from; by default 0.1, 0.15, ... 1.
        inclusive: The pixel conventions of Choe et al. (2020).

    Raises:
        ValueError: No boxes, impossible ones, or sides outside (0, 1].

    """
    if not len(boxes) or not len(sides):
        raise ValueError(f"need boxes and sides to choose from, got {len(boxes)} and {len(sides)}")

    def right(side: float) -> int:
        return int((_hits(image_size, side, boxes, inclusive) >= iou_threshold).sum())

    return max(sorted(sides), key=right)  # the first of those that tie


def baseline_results(
    boxes: TrueBoxes,
    held_out_boxes: TrueBoxes,
    image_size: tuple[int, int],
    *,
    recognised: Mapping[str, Bool[Tensor, " images"]] | None = None,
    sides: Sequence[float] = (1.0, 0.75, 0.5),
    inclusive: bool = False,
) -> dict[str, dict[str, float]]:
    """Return the accuracies of boxes that see nothing.

    The boxes are centred ones of given sides, 1 being the whole picture, and the one whose side
    is best on the held-out images, at each IoU for itself.

    Args:
        boxes: True boxes of the judged images: shape (images, 4), or a list with the boxes of
            each image, shapes (boxes, 4), of which the best counts.
        held_out_boxes: The same of other images, which choose the best side.
        image_size: Height and width, of all images.
        recognised: Further columns, such as {"Top-1": predicted == targets}: an image then counts
            only if it is recognised as well.
        sides: Given sides, in (0, 1].
        inclusive: The pixel conventions of Choe et al. (2020).

    Returns:
        By name of the box, the columns "GT-known" (IoU 0.5), those of `recognised`, and "V2" (the
        mean over IoUs 0.3, 0.5 and 0.7), in [0, 1].

    Raises:
        ValueError: No or impossible boxes, sides outside (0, 1], or `recognised` of another
            length.

    """
    if not len(boxes):
        raise ValueError("there are no boxes to judge the baselines by")
    for name, right in (recognised or {}).items():
        check_shape(right, (len(boxes),), f"recognised[{name!r}]")
    choose = partial(best_centred_side, held_out_boxes, image_size, inclusive=inclusive)
    best = {delta: choose(iou_threshold=delta) for delta in V2_IOUS}
    of_rows = {
        "whole picture" if side == 1 else f"centred, side {side:g}": dict.fromkeys(V2_IOUS, side)
        for side in sides
    } | {"centred, best side": best}
    found = {}
    for name, side_at in of_rows.items():
        hit = {d: _hits(image_size, s, boxes, inclusive) >= d for d, s in side_at.items()}
        found[name] = {"GT-known": float(hit[0.5].double().mean())}
        for column, right in (recognised or {}).items():
            found[name][column] = float((hit[0.5] & right.cpu().bool()).double().mean())
        found[name]["V2"] = float(torch.stack([h.double().mean() for h in hit.values()]).mean())
    return found


Cell = float | Mapping[str, float | None]


@dataclass(frozen=True)
class LocalizationTable:
    """Results of maps with the boxes that see nothing below them; notebooks show it as a table.

    Args:
        columns: Names of the columns after the first.
        rows: Name of the map or box and its accuracies, in [0, 1]; None where there is none.

    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]

    def markdown(self) -> str:
        """Return the table in Markdown, in percent, with a spread where a cell has one."""
        header = ("map or box", *(f"{column}, %" for column in self.columns))
        shown = [(name, *map(_percent, cells)) for name, cells in self.rows]
        rule = ("---", *("---:" for _ in self.columns))
        rows = ([" ".join(cell.replace("|", "\\|").split("\n")) for cell in row]
                for row in (header, rule, *shown))  # fmt: skip
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    _repr_markdown_ = markdown


def _percent(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    if not isinstance(cell, Mapping):
        return f"{100 * float(cell):.1f}"
    spread = cell.get("sd")
    return f"{100 * cell['mean']:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")  # type: ignore[operator]


def localization_table(
    results: Mapping[str, Mapping[str, Cell]],
    boxes: TrueBoxes,
    held_out_boxes: TrueBoxes,
    image_size: tuple[int, int],
    *,
    columns: Sequence[str] | None = None,
    recognised: Mapping[str, Bool[Tensor, " images"]] | None = None,
    sides: Sequence[float] = (1.0, 0.75, 0.5),
    inclusive: bool = False,
) -> LocalizationTable:
    """Set results beside the boxes that see nothing, which no table leaves out.

    Args:
        results: By name of the map, its accuracies in [0, 1] by column: a number, or a mapping
            with "mean" and "sd" over repeated runs. Columns
            that the baselines have too are "GT-known", "V2" and those of `recognised`.
        boxes: As `held_out_boxes`, `image_size`, `recognised`, `sides` and `inclusive` passed on
            to :func:`baseline_results`.
        held_out_boxes: See there.
        image_size: See there.
        columns: Which columns, and in which order; by default those of the results.
        recognised: See there.
        sides: See there.
        inclusive: See there.

    Raises:
        ValueError: No results, a column that no row has, or what :func:`baseline_results` says.

    Example:
        >>> boxes = torch.tensor([[2, 2, 6, 6], [0, 0, 7, 8]])
        >>> print(localization_table({"CAM": {"GT-known": 0.5}}, boxes, boxes, (8, 8)).markdown())
        | map or box | GT-known, % |
        | --- | ---: |
        | CAM | 50.0 |
        | *box: whole picture* | 50.0 |
        | *box: centred, side 0.75* | 50.0 |
        | *box: centred, side 0.5* | 50.0 |
        | *box: centred, best side* | 100.0 |

    """
    if not results:
        raise ValueError("there are no results to set beside the baselines")
    blind = baseline_results(
        boxes, held_out_boxes, image_size,
        recognised=recognised, sides=sides, inclusive=inclusive,
    )  # fmt: skip
    everything = [*results.items(), *((f"*box: {name}*", b) for name, b in blind.items())]
    if columns is None:
        columns = tuple(dict.fromkeys(c for row in results.values() for c in row))
    missing = [c for c in columns if not any(c in row for _, row in everything)]
    if missing:
        raise ValueError(f"no row has the columns {missing}")
    rows = tuple((name, tuple(row.get(c) for c in columns)) for name, row in everything)
    return LocalizationTable(tuple(columns), rows)
