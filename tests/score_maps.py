"""Byte maps with the hard cases of contours, and boxes that they nearly find."""

from functools import cache

import numpy as np
import torch
from slow_reference import largest_boxes


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A few bright bumps, some over the edge: contours that merge and part with the threshold."""
    ys, xs = np.mgrid[:height, :width]
    score_map = np.zeros((height, width))
    for _ in range(rng.integers(1, 5)):
        y, x, s = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 4)
        score_map += rng.uniform(0.3, 1) * np.exp(-((ys - y) ** 2 + (xs - x) ** 2) / (2 * s**2))
    return (255 * score_map / score_map.max()).astype(np.uint8)


@cache
def small_maps() -> list[np.ndarray]:
    """Forty maps of 13 x 17: bumps, speckle (many contours and holes), rings, and limits."""
    rng = np.random.default_rng(20)
    height, width = 13, 17
    maps = [blobs(rng, height, width) for _ in range(16)]
    maps += [rng.integers(0, 256, (height, width)).astype(np.uint8) for _ in range(8)]
    maps += [rng.integers(0, 3, (height, width)).astype(np.uint8) for _ in range(4)]  # few levels
    ring = np.zeros((height, width), dtype=np.uint8)
    ring[2:11, 3:14] = 200
    ring[4:9, 5:12] = 90  # a hole above 0.45, with an island in it
    ring[6, 8] = 255
    frame = np.full((height, width), 250, dtype=np.uint8)
    frame[1:-1, 1:-1] = 10
    twins = np.zeros((height, width), dtype=np.uint8)
    twins[1:5, 1:6] = twins[7:11, 9:14] = 255  # two largest contours
    corner = np.zeros((height, width), dtype=np.uint8)
    corner[9:, 12:] = 180
    diagonal = (255 * np.eye(height, width)).astype(np.uint8)  # one component, no area
    pixel = np.zeros((height, width), dtype=np.uint8)
    pixel[6, 16] = 1
    maps += [ring, frame, twins, corner, diagonal, pixel]
    maps += [np.roll(ring, 3, axis=1), 255 - ring]  # on the border; inside out
    maps += [np.full((height, width), v, dtype=np.uint8) for v in (0, 1, 7, 255)]
    return maps


def true_boxes() -> torch.Tensor:
    """A box an image: that of its map at half the maximum, each side moved by up to two pixels."""
    rng = np.random.default_rng(21)
    boxes = []
    for score_map in small_maps():
        x0, y0, x1, y1 = sorted(largest_boxes(score_map, 0.5))[0] + rng.integers(-2, 3, 4)
        x0, y0 = min(max(x0, 0), 15), min(max(y0, 0), 11)
        boxes.append([x0, y0, min(max(x1, x0 + 1), 16), min(max(y1, y0 + 1), 12)])
    return torch.tensor(boxes)


def stacked() -> torch.Tensor:
    return torch.from_numpy(np.stack(small_maps()))
