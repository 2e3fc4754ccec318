"""MaxBoxAccV2 beside the plain loop over thresholds in OpenCV, in the reference's conventions."""

from collections.abc import Callable

import cv2
import numpy as np
import torch

from softmi.maps import V2_IOUS, MaxBoxAccuracyV2, map_to_picture


def smooth_maps(images: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Byte maps of 7 x 7 random cells enlarged, as CAMs are, and random boxes."""
    draw = torch.Generator().manual_seed(0)
    maps = map_to_picture(torch.rand(images, 7, 7, generator=draw), (side, side))
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    start = torch.randint(0, side // 2, (images, 2), generator=draw)
    extent = torch.randint(side // 4, side // 2, (images, 2), generator=draw)
    boxes = torch.cat([start, start + extent], 1)
    return (255 * (maps - low) / (high - low)).to(torch.uint8), boxes


def opencv_loop(maps: np.ndarray, boxes: np.ndarray, thresholds: int) -> np.ndarray:
    """Count right images by threshold: mask, contours, boxes and overlaps, one after another."""
    correct = np.zeros((len(V2_IOUS), thresholds), dtype=int)
    for score_map, (u0, v0, u1, v1) in zip(maps, boxes, strict=True):
        height, width = score_map.shape
        peak = int(score_map.max())
        for i in range(thresholds):
            level = int(i * (1 / thresholds) * peak)
            _, mask = cv2.threshold(score_map, level, 255, cv2.THRESH_BINARY)
            contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            found = np.array([cv2.boundingRect(c) for c in contours] or [(0, 0, 0, 0)])
            x0, y0 = found[:, 0], found[:, 1]
            x1 = np.minimum(x0 + found[:, 2], width - 1)
            y1 = np.minimum(y0 + found[:, 3], height - 1)
            across = np.maximum(0, np.minimum(x1, u1) - np.maximum(x0, u0) + 1)
            down = np.maximum(0, np.minimum(y1, v1) - np.maximum(y0, v0) + 1)
            union = (x1 - x0 + 1) * (y1 - y0 + 1) + (u1 - u0 + 1) * (v1 - v0 + 1) - across * down
            best = (across * down / union).max()
            correct[:, i] += best >= np.array(V2_IOUS)
    return correct


def bare_contours(maps: np.ndarray, thresholds: int) -> None:
    """Mask, contours, box of the largest and nothing else: less than any evaluator does."""
    for score_map in maps:
        peak = int(score_map.max())
        for i in range(thresholds):
            level = int(i * (1 / thresholds) * peak)
            _, mask = cv2.threshold(score_map, level, 255, cv2.THRESH_BINARY)
            contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            if contours:
                cv2.boundingRect(max(contours, key=cv2.contourArea))


def compare_sweeps(
    median_seconds: Callable[..., dict[str, float]], *, images: int = 16, side: int = 224
) -> list[tuple[str, str, float, float]]:
    """Time a map at 100 and at 1,000 thresholds; the counts are the same, one by one."""
    maps, boxes = smooth_maps(images, side)
    rows = []
    for thresholds, rounds in ((100, 5), (1000, 3)):
        metric = MaxBoxAccuracyV2(thresholds, inclusive=True)

        def ours(metric: MaxBoxAccuracyV2 = metric) -> torch.Tensor:
            metric.reset()
            metric.update(maps, boxes)
            return metric.correct_counts

        def loop(thresholds: int = thresholds) -> np.ndarray:
            return opencv_loop(maps.numpy(), boxes.numpy(), thresholds)

        def bare(thresholds: int = thresholds) -> None:
            bare_contours(maps.numpy(), thresholds)

        if ours().tolist() != loop().tolist():
            raise AssertionError("the sweep and the loop count differently")
        seconds = median_seconds({"ours": ours, "loop": loop, "bare": bare}, rounds=rounds)
        name = f"MaxBoxAccuracyV2, a map of {side} x {side}, {thresholds:,} thresholds"
        for peer, key in (("OpenCV loop", "loop"), ("its contours and one box alone", "bare")):
            rows.append((name, peer, seconds["ours"] / images, seconds[key] / images))
    return rows
