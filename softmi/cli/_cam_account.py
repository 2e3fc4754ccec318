"""The account of `softmi cam`: what the cells of a map, the biases and the priors add up to."""

import argparse
from typing import Any

import torch
from torch import Tensor

from softmi.cli._options import aligned
from softmi.maps import (
    Activations,
    boxes_from_score_maps,
    contrast_weights,
    map_to_picture,
    sum_in_boxes,
)

CONTRASTS = {"mean": "infoCAM", "least": "infoCAM+", "rivals": "Finer-CAM", "none": "CAM"}


def account(
    seen: Activations,
    chosen: int,
    names: list[str],
    size: tuple[int, int],
    options: argparse.Namespace,
) -> tuple[dict[str, Any], Tensor]:
    """All numbers of the map of a class over an image of this width and height, and the map."""
    rivals = 3 if options.rivals is None else options.rivals
    contrast: dict[str, Any] = {"contrast": options.against, "rivals": rivals}
    maps = seen.maps(chosen, **contrast).double()
    box = _box(maps, options, size)
    inside, total = float(sum_in_boxes(maps, torch.tensor([box]), size)), float(maps.sum())
    logits = seen.logits.double()
    log_prior = torch.zeros_like(logits[0]) if seen.log_prior is None else seen.log_prior.double()
    # Weight of each class in the difference: of logits, biases and log priors alike.
    weight = contrast_weights(
        torch.eye(logits.shape[1], dtype=torch.float64), torch.tensor([chosen]),
        logits=logits - log_prior, **contrast,
    )[0]  # fmt: skip
    bias, prior = float(weight @ seen.bias.double()), float(weight @ -log_prior)
    log_q = logits[0].log_softmax(0)
    rows = []
    for i in log_q.argsort(descending=True, stable=True)[:5].tolist():
        row = {"class": i, "name": names[i], "probability": float(log_q[i].exp())}
        row["logit"] = float(logits[0, i])
        if options.prior is not None:
            row["pmi_nats"] = float(log_q[i] - log_prior[i])
        rows.append(row)
    compared = weight.lt(0).nonzero()[:, 0].tolist() if options.against != "mean" else []
    quantity, unit = "difference of log probabilities", "nats"
    if options.prior is not None:
        quantity = "difference of pointwise mutual informations"
    if options.against == "none":
        quantity = unit = "logit"
    report = {
        "image": str(options.image),
        "image_size": list(size),
        "model": options.model,
        "n_classes": len(weight),
        "predicted": rows,
        "class": chosen,
        "name": names[chosen],
        "against": options.against,
        "method": CONTRASTS[options.against],
        "against_classes": compared,
        "against_names": [names[i] for i in compared],
        "quantity": quantity,
        "cells": list(maps.shape[1:]),
        "threshold": options.threshold,
        "box": box,
        "share_of_area": (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1]),
        "unit": unit,
        "inside": inside,
        "outside": total - inside,
        "bias": bias,
        "prior": prior,
        "sum": total + bias + prior,
        "difference": float(weight @ (logits[0] - log_prior)),
    }
    return report, maps[0]


def _box(maps: Tensor, options: argparse.Namespace, size: tuple[int, int]) -> list[int]:
    """Box of the map in pixels of the image, widened to whole ones."""
    seen = options.size
    # What speaks against the class would stretch the range, and lower the threshold below zero.
    scores = map_to_picture(maps, seen).clamp(min=0)
    x0, y0, x1, y1 = boxes_from_score_maps(scores, options.threshold)[0].tolist()
    low = [edge * side // seen for edge, side in zip((x0, y0), size, strict=True)]
    high = [-(-edge * side // seen) for edge, side in zip((x1, y1), size, strict=True)]
    return low + high


def heading(report: dict[str, Any]) -> str:
    """What is compared with what."""
    compared = ", ".join(name[:40] for name in report["against_names"][:3])
    if report["against"] == "mean":
        compared = f"the mean of all {report['n_classes'] - 1} others"
    if (more := len(report["against_names"]) - 3) > 0:
        compared += f" and {more} more"
    return report["name"][:40] + (f" against {compared}" if compared else "")


def picture_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The account below the picture: a number, and what it is."""
    rows = [(_signed(value, 2), f"{report['unit']} {name}") for name, value in _rows(report)]
    best = report["predicted"][0]
    return [*rows, (f"{100 * best['probability']:.0f} %", f"probability of {best['name'][:40]}")]


def _rows(report: dict[str, Any]) -> list[tuple[str, float]]:
    """The account, by name and nats."""
    x0, y0, x1, y1 = report["box"]
    area = f"{100 * report['share_of_area']:.1f} % of the area"
    place = "no box, no place speaks for it more than others"
    if x1 > x0:
        place = f"in the box {x0} {y0} {x1} {y1} ({area})"
    rows = [(place, "inside"), ("outside of it", "outside"), ("from the biases", "bias")]
    if "pmi_nats" in report["predicted"][0]:
        rows.append(("from the log priors", "prior"))
    return [(name, report[key]) for name, key in [*rows, ("together", "sum")]]


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no negative zero


def show(report: dict[str, Any]) -> str:
    """Lay the numbers out: what is predicted, then the account of one difference."""
    table = [("predicted", "probability", "logit", "PMI, nats")]
    for row in report["predicted"]:
        name = row["name"][:40]
        label = name if name == f"class {row['class']}" else f"{row['class']} {name}"
        pmi = f"{row['pmi_nats']:.3f}" if "pmi_nats" in row else ""
        table.append((label, f"{100 * row['probability']:.1f} %", f"{row['logit']:.3f}", pmi))
    columns = 4 if table[-1][3] else 3
    lines = aligned([row[:columns] for row in table], "<>>>")
    alone = " against nothing" if report["against"] == "none" else ""
    lines += ["", f"{heading(report)}{alone} ({report['method']})"]
    rows = [(name, _signed(value, 4)) for name, value in _rows(report)]
    rows.append(("the network's own", _signed(report["difference"], 4)))
    lines += aligned([(report["quantity"], report["unit"]), *rows], "<>")
    if report["against"] == "none":
        lines.append("a logit alone has no unit: compare classes, by --against, for nats")
    lines += ["", f"picture: {report['picture']}"]
    return "\n".join(lines)
