"""Slow, readable specifications that the library is compared with. Nothing of softmi in here."""

from collections.abc import Sequence

import mpmath as mp
import numpy as np
from scipy import ndimage

DIGITS = 50
EPS = 2.0**-52  # spacing of float64 around 1


# --- Softmax and its relatives, to 50 digits --------------------------------------------------


def log_ratio(
    logits: Sequence[float],
    prior: Sequence[float],
    *,
    prior_corrected: bool = True,
    tau: float = 1.0,
) -> list[mp.mpf]:
    """log s_k = f_k - log sum_j pi_j^tau e^f_j; or, plain, log softmax_k - log pi_k."""
    with mp.workdps(DIGITS):
        f = [mp.mpf(float(v)) for v in logits]
        pi = [mp.mpf(float(p)) for p in prior]
        if prior_corrected:
            weights = [p ** mp.mpf(tau) for p in pi]
            total = mp.log(mp.fsum(w * mp.exp(v) for w, v in zip(weights, f, strict=True)))
            return [v - total for v in f]
        total = mp.log(mp.fsum(mp.exp(v) for v in f))
        return [v - total - mp.log(p) for v, p in zip(f, pi, strict=True)]


def rounding_bound(logits: Sequence[float], prior: Sequence[float]) -> float:
    """Magnitudes below this lose digits to cancellation, whatever the algorithm in float64.

    A log-ratio is a difference of numbers as large as the spread of the logits and the log
    prior. Each is rounded, so that the difference carries an absolute error of a few eps times
    that size: 1e-12 of this bound.
    """
    f = np.asarray(logits, dtype=float)
    pi = np.asarray(prior, dtype=float)
    size = 1 + f.max() - f.min() + np.abs(np.log(pi[pi > 0])).max()
    return 4 * EPS * size / 1e-12


def relative_error(found: float, exact: mp.mpf, floor: float = 0.0) -> float:
    """|found - exact| / max(|exact|, floor)."""
    with mp.workdps(DIGITS):
        scale = max(abs(exact), mp.mpf(floor))
        return float(abs(mp.mpf(float(found)) - exact) / scale) if scale else abs(float(found))


# --- Thresholding, contours and boxes without OpenCV ------------------------------------------

EVERY_NEIGHBOUR = np.ones((3, 3), dtype=int)


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of the true pixels, x1 and y1 exclusive."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def polygon_area(region: np.ndarray) -> float:
    """Area of the polygon through the centres of the border pixels of a region without holes.

    Each square between four pixel centres belongs to it whole when all four are in the region,
    half (the border cuts its corner) when three are, and not at all otherwise.
    """
    padded = np.pad(region, 1).astype(int)
    corners = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    return float((corners == 4).sum() + 0.5 * (corners == 3).sum())


def regions_above(score_map: np.ndarray, threshold: float) -> list[np.ndarray]:
    """8-connected components of {m > floor(t max m)}."""
    mask = score_map > int(threshold * int(score_map.max()))
    labels, count = ndimage.label(mask, EVERY_NEIGHBOUR)
    return [labels == i for i in range(1, count + 1)]


def holes_of(region: np.ndarray) -> list[np.ndarray]:
    """4-connected components of the complement that do not reach the edge of the image."""
    labels, count = ndimage.label(~np.pad(region, 1))
    outside = labels[0, 0]
    return [(labels == i)[1:-1, 1:-1] for i in range(1, count + 1) if i != outside]


def hole_box(hole: np.ndarray) -> tuple[int, int, int, int]:
    """Box of a hole's contour: it runs through the pixels around the hole, one further out."""
    x0, y0, x1, y1 = bounding_box(hole)
    return x0 - 1, y0 - 1, x1 + 1, y1 + 1


def clipped(box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The reference evaluator's end of a box: x + width, but not beyond the last pixel."""
    x0, y0, x1, y1 = box
    return x0, y0, min(x1, shape[1] - 1), min(y1, shape[0] - 1)


def largest_boxes(
    score_map: np.ndarray, threshold: float, *, inclusive: bool = False
) -> set[tuple[int, int, int, int]]:
    """Box of the contour of largest area; of all that tie for it."""
    regions = regions_above(score_map, threshold)
    if not regions:
        return {(0, 0, 0, 0)}
    areas = [polygon_area(ndimage.binary_fill_holes(r)) for r in regions]
    boxes = [bounding_box(r) for r, a in zip(regions, areas, strict=True) if a == max(areas)]
    return {clipped(b, score_map.shape) if inclusive else b for b in boxes}


def all_boxes(
    score_map: np.ndarray, threshold: float, *, inclusive: bool = False
) -> set[tuple[int, int, int, int]]:
    """Boxes of all contours: of every component and of every hole in one."""
    regions = regions_above(score_map, threshold)
    if not regions:
        return {(0, 0, 0, 0)}
    boxes = [bounding_box(r) for r in regions]
    boxes += [hole_box(h) for r in regions for h in holes_of(r)]
    return {clipped(b, score_map.shape) if inclusive else b for b in boxes}


def pixel_iou(
    a: Sequence[int], b: Sequence[int], *, inclusive: bool = False, side: int = 300
) -> float:
    """IoU by painting both boxes on a grid and counting pixels."""
    end = 1 if inclusive else 0
    painted = []
    for x0, y0, x1, y1 in (a, b):
        grid = np.zeros((side, side), dtype=bool)
        grid[y0 : y1 + end, x0 : x1 + end] = True
        painted.append(grid)
    union = (painted[0] | painted[1]).sum()
    return float((painted[0] & painted[1]).sum() / union) if union else 0.0
