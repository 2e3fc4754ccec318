"""Class activation maps by hand, and the identities of the contrast family."""

import math

import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from softmi import (
    class_activation_map,
    contrast_weights,
    pointwise_mutual_information,
    sum_in_boxes,
    window_sum,
)
from softmi.maps import share_of_cells

CONTRASTS = ("none", "mean", "least", "rivals")

# A network small enough for paper: two channels on 2 x 2 cells, three classes, one image.
MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [-1.0, 2.0]]]])
WEIGHTS = torch.tensor([[1.0, 0.0], [2.0, -1.0], [-1.0, 3.0]])


def case(seed: int = 0, *, classes: int = 5, dtype: torch.dtype = torch.float64):
    """A random linear head on random maps, with its logits."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(6, 7, 3, 4, generator=generator, dtype=torch.float64)
    weights = torch.randn(classes, 7, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    logits = maps.mean((2, 3)) @ weights.T + bias
    labels = torch.arange(6) % classes
    return maps.to(dtype), weights.to(dtype), bias.to(dtype), logits.to(dtype), labels


def close(a, b, **tolerance):
    # Sums of seven products and twelve cells, of order one.
    torch.testing.assert_close(a, b, **({"rtol": 0, "atol": 1e-14} | tolerance))


# --- By hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contrast", "options", "expected"),
    [
        # class 1: (2, -1) . A / 4
        ("none", {}, [[2, 3], [7, 6]]),
        # minus the mean (0, 1.5) of the others: (2, -2.5) . A / 4
        ("mean", {}, [[2, 1.5], [8.5, 3]]),
        # minus class 0, of the lowest other logit: (1, -1) . A / 4
        ("least", {}, [[1, 1], [4, 2]]),
        # minus class 2, of the highest other logit: (3, -4) . A / 4
        ("rivals", {"rivals": 1}, [[3, 2], [13, 4]]),
        # half of it: (2.5, -2.5) . A / 4
        ("rivals", {"rivals": 1, "gamma": 0.5}, [[2.5, 2.5], [10, 5]]),
    ],
)
def test_maps_of_a_tiny_network_are_those_computed_by_hand(contrast, options, expected):
    found = class_activation_map(
        MAPS, WEIGHTS, torch.tensor([1]), contrast=contrast,
        logits=torch.tensor([[-1.0, 5.0, 2.0]]), **options,
    )  # fmt: skip
    assert (found * 4).tolist() == [expected]


def test_contrast_weights_by_hand():
    logits = torch.tensor([[-1.0, 5.0, 2.0]])
    classes = torch.tensor([1])
    rows = {c: contrast_weights(WEIGHTS, classes, contrast=c, logits=logits, rivals=2).tolist()
            for c in CONTRASTS}  # fmt: skip
    assert rows == {
        "none": [[2, -1]],
        "mean": [[2, -2.5]],
        "least": [[1, -1]],
        "rivals": [[2, -2.5]],
    }


def test_least_likely_class_is_never_the_class_itself():
    """infoCAM+ of an image whose own class scores lowest: the lowest of the others."""
    found = contrast_weights(
        WEIGHTS, torch.tensor([0]), contrast="least", logits=torch.tensor([[-9.0, 5.0, 2.0]])
    )
    assert found.tolist() == [[2, -3]]


# --- Identities -------------------------------------------------------------------------------


def test_cells_of_a_cam_sum_to_the_logit_less_its_bias():
    maps, weights, bias, logits, labels = case(1)
    total = class_activation_map(maps, weights, labels).sum((1, 2))
    close(total, (logits - bias).gather(1, labels[:, None])[:, 0])


@pytest.mark.parametrize("contrast", CONTRASTS[1:])
def test_cells_sum_to_the_difference_of_logits_less_that_of_biases(contrast):
    maps, weights, bias, logits, labels = case(2)
    total = class_activation_map(
        maps, weights, labels, contrast=contrast, rivals=2, logits=logits
    ).sum((1, 2))
    for i, y in enumerate(labels.tolist()):
        others = sorted((k for k in range(5) if k != y), key=lambda k: logits[i, k].item())
        against = {"mean": others, "least": others[:1], "rivals": others[-2:]}[contrast]
        evidence = logits[i] - bias
        close(total[i], evidence[y] - evidence[against].mean())


def test_cells_sum_to_a_difference_of_pointwise_information():
    """For a prior-corrected head without bias; the log-partition and the prior cancel."""
    maps, weights, bias, logits, labels = case(3)
    total = class_activation_map(
        maps, weights, labels, contrast="rivals", rivals=1, logits=logits - bias
    ).sum((1, 2))
    pmi = pointwise_mutual_information(
        logits - bias, [0.1, 0.2, 0.3, 0.15, 0.25], prior_corrected=True
    )
    own = F.one_hot(labels, 5).bool()
    difference = pmi[own] - pmi.masked_fill(own, -math.inf).max(1).values
    close(total, difference)


def test_for_two_classes_all_contrasts_are_the_difference_of_the_two():
    maps, weights, _, logits, labels = case(4, classes=2)
    difference = class_activation_map(maps, weights, labels) - class_activation_map(
        maps, weights, 1 - labels
    )
    for contrast in CONTRASTS[1:]:
        found = class_activation_map(
            maps, weights, labels, contrast=contrast, rivals=1, logits=logits
        )
        close(found, difference)


@pytest.mark.parametrize("classes", [3, 5])
def test_all_rivals_are_the_mean_of_the_others(classes):
    maps, weights, _, logits, labels = case(5, classes=classes)
    mean = class_activation_map(maps, weights, labels, contrast="mean")
    rivals = class_activation_map(
        maps, weights, labels, contrast="rivals", rivals=classes - 1, logits=logits
    )
    close(rivals, mean)


@pytest.mark.parametrize("classes", [2, 3, 200])
def test_infocam_is_the_cam_of_centred_weights_times_m_over_m_minus_one(classes):
    maps, weights, _, _, labels = case(6, classes=classes)
    centred = (weights - weights.mean(0)) * classes / (classes - 1)
    found = class_activation_map(maps, weights, labels, contrast="mean")
    close(found, class_activation_map(maps, centred, labels))


def test_infocam_of_weights_of_zero_mean_is_the_cam_up_to_a_factor():
    maps, weights, _, _, labels = case(7)
    weights = weights - weights.mean(0)
    found = class_activation_map(maps, weights, labels, contrast="mean")
    close(found, 5 / 4 * class_activation_map(maps, weights, labels))


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_contrasts_do_not_see_what_all_classes_share_but_cam_does(contrast):
    """Adding v to all class weights leaves every softmax as it was: a gauge."""
    maps, weights, _, logits, labels = case(8)
    shared = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def found(w, gamma):
        return class_activation_map(
            maps, w, labels, contrast=contrast, rivals=2, gamma=gamma, logits=logits
        )

    moved = torch.einsum("c,nchw->nhw", shared, maps) / 12
    sees = 1.0 if contrast == "none" else 0.0
    close(found(weights + shared, 1.0), found(weights, 1.0) + sees * moved)
    sees = 1.0 if contrast == "none" else 0.25
    close(found(weights + shared, 0.75), found(weights, 0.75) + sees * moved)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_no_weight_of_the_contrast_is_plain_cam(contrast):
    maps, weights, _, logits, labels = case(9)
    found = class_activation_map(
        maps, weights, labels, contrast=contrast, gamma=0.0, logits=logits
    )
    close(found, class_activation_map(maps, weights, labels))


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_images_of_a_batch_do_not_see_each_other(contrast):
    maps, weights, _, logits, labels = case(10)
    whole = class_activation_map(maps, weights, labels, contrast=contrast, logits=logits)
    for i in range(6):
        one = slice(i, i + 1)
        alone = class_activation_map(
            maps[one], weights, labels[one], contrast=contrast, logits=logits[one]
        )
        close(alone, whole[one])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_maps_are_summed_in_float32(dtype):
    maps, weights, _, _, labels = case(11, dtype=dtype)
    found = class_activation_map(maps, weights, labels)
    assert found.dtype == dtype
    exact = class_activation_map(maps.double(), weights.double(), labels)
    # One rounding to half precision at the end.
    torch.testing.assert_close(found.double(), exact, rtol=torch.finfo(dtype).eps, atol=2.0**-24)
    # 200 channels x 100 x 10 = 200,000 would overflow float16 before the division by 4.
    big = class_activation_map(
        torch.full((1, 200, 2, 2), 100.0).to(dtype),
        torch.full((1, 200), 10.0).to(dtype),
        torch.tensor([0]),
    )
    assert big.float().mean().item() == pytest.approx(50_000, rel=torch.finfo(dtype).eps)


def test_maps_are_differentiable_in_maps_and_weights():
    maps, weights, _, _, labels = case(12, classes=3)
    assert torch.autograd.gradcheck(
        lambda m, w: class_activation_map(m, w, labels[:2], contrast="mean"),
        (maps[:2, :, :2, :2].clone().requires_grad_(True), weights.requires_grad_(True)),
    )


def test_inputs_stay_as_they_were():
    tensors = case(13)
    before = [t.clone() for t in tensors]
    maps, weights, _, logits, labels = tensors
    for contrast in CONTRASTS:
        class_activation_map(maps, weights, labels, contrast=contrast, logits=logits)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_maps_are_the_same_on_a_gpu(contrast):
    maps, weights, _, logits, labels = case(14)
    here = class_activation_map(maps, weights, labels, contrast=contrast, logits=logits)
    there = class_activation_map(
        maps.cuda(), weights.cuda(), labels.cuda(), contrast=contrast, logits=logits.cuda()
    )
    close(there.cpu(), here, atol=1e-13)


# --- Window sum -------------------------------------------------------------------------------


def test_window_sum_by_hand():
    one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert window_sum(one, 2).tolist() == [[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]
    assert window_sum(one, 2, pad=False).tolist() == [[[10]]]
    assert window_sum(one, 1).tolist() == one.tolist()


@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize(("pad", "mode"), [(True, "full"), (False, "valid")])
def test_window_sum_is_a_convolution_with_ones(window, pad, mode):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    found = window_sum(maps, window, pad=pad)
    ones = torch.ones(window, window).double().numpy()
    for one, expected in zip(maps, found, strict=True):
        oracle = scipy.signal.convolve2d(one.numpy(), ones, mode=mode)
        close(expected, torch.from_numpy(oracle))


@pytest.mark.parametrize(
    ("side", "window", "padded", "inside"), [(14, 4, 17, 11), (4, 3, 6, 2), (7, 2, 8, 6)]
)
def test_window_sum_grows_the_map_as_the_authors_does(side, window, padded, inside):
    """14 to 17 cells on CUB, 4 to 6 on Tiny-ImageNet."""
    maps = torch.ones(1, side, side)
    assert window_sum(maps, window).shape == (1, padded, padded)
    assert window_sum(maps, window, pad=False).shape == (1, inside, inside)
    # Each cell is counted in every window that holds it.
    assert window_sum(maps, window).sum() == window**2 * side**2


def test_window_sum_and_contrast_can_be_applied_in_either_order():
    maps, weights, _, _, labels = case(15)
    first = window_sum(class_activation_map(maps, weights, labels, contrast="mean"), 3)
    channels = window_sum(maps.flatten(0, 1), 3).unflatten(0, (6, 7))
    # class_activation_map divides by its own number of cells: 5 x 6 after padding, not 3 x 4.
    second = class_activation_map(channels, weights, labels, contrast="mean") * 30 / 12
    close(first, second, atol=1e-13)


# --- Hostile input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"feature_maps": MAPS.int()}, TypeError, "feature_maps must be floating.*int32"),
        ({"weights": WEIGHTS.int()}, TypeError, "weights must be floating.*int32"),
        ({"feature_maps": MAPS[0]}, ValueError, r"feature_maps .* rank 4, got shape \(2, 2, 2\)"),
        ({"feature_maps": MAPS[:0]}, ValueError, r"feature_maps must be non-empty .*\(0, 2, 2, 2"),
        ({"weights": WEIGHTS[0]}, ValueError, r"weights must be .* rank 2, got shape \(2,\)"),
        ({"weights": WEIGHTS[:, :1]}, ValueError, r"have 2 channels, .*\(3, 1\) expect 1"),
        ({"classes": torch.tensor([3])}, ValueError, r"\[0, 3\) for 3 classes, got .* 3 to 3"),
        ({"classes": torch.tensor([0, 1])}, ValueError, r"shape \(1,\).*got shape \(2,\)"),
        ({"classes": torch.tensor([0.0])}, TypeError, "integer class indices.*float32"),
        ({"contrast": "max"}, ValueError, "one of .*'rivals'.* got 'max'"),
        ({"contrast": "least"}, ValueError, "'least' ranks the other classes and needs `logits`"),
        ({"contrast": "rivals", "logits": torch.zeros(1, 2)}, ValueError, r"\(1, 3\), .*\(1, 2\)"),
        (
            {"contrast": "least", "logits": torch.tensor([[0, math.nan, 1]])},
            ValueError,
            r"1 of 3 .*\(0, 1\) is nan",
        ),
        (
            {"contrast": "rivals", "rivals": 3, "logits": torch.zeros(1, 3)},
            ValueError,
            "between 1 and 2, got 3",
        ),
        (
            {"contrast": "rivals", "rivals": 0, "logits": torch.zeros(1, 3)},
            ValueError,
            "between 1 and 2, got 0",
        ),
        ({"contrast": "mean", "weights": WEIGHTS[:1]}, ValueError, "two classes, got 1"),
    ],
)
def test_bad_input_is_refused_with_what_came_in(change, error, message):
    arguments = {"feature_maps": MAPS, "weights": WEIGHTS, "classes": torch.tensor([0])}
    with pytest.raises(error, match=message):
        class_activation_map(**arguments | change)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("maps", "window", "pad", "message"),
    [
        (torch.zeros(2, 2), 2, True, r"\(batch, height, width\), got shape \(2, 2\)"),
        (torch.zeros(1, 2, 2), 0, True, r"at least 1 and fit \(1, 2, 2\), got 0"),
        (torch.zeros(1, 2, 3), 3, False, r"fit \(1, 2, 3\), got 3"),
    ],
)
def test_bad_windows_are_refused_with_what_came_in(maps, window, pad, message):
    with pytest.raises(ValueError, match=message):
        window_sum(maps, window, pad=pad)


# --- The nats of a region ---------------------------------------------------------------------


def test_shares_of_cells_are_areas():
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [4.0, 0.0, 6.0, 16.0], [3.0, 3.0, 5.0, 5.0]])
    whole, band, square = share_of_cells(boxes, (4, 4), (16, 16))
    assert (whole == 1).all()
    assert torch.equal(band[0], torch.tensor([0, 0.5, 0, 0], dtype=torch.float64))
    assert square[:2, :2].eq(1 / 16).all()
    assert float(square.sum()) == 4 / 16


@pytest.mark.parametrize(
    ("boxes", "cells", "message"),
    [
        (torch.zeros(4), (3, 3), r"\(4,\)"),
        (torch.zeros(1, 4), (0, 3), r"\(0, 3\)"),
        (torch.tensor([[0, 2, 1, 1]]), (3, 3), "y1 < y0"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_shares_of_impossible_cells_are_refused(boxes, cells, message):
    with pytest.raises(ValueError, match=message):
        share_of_cells(boxes, cells, (9, 9))


def test_sum_in_boxes_by_hand():
    maps = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]]).expand(6, 2, 2)
    boxes = [[0, 0, 5, 5], [0, 0, 10, 10], [5, 0, 10, 5], [2.5, 0, 7.5, 10], [3, 3, 3, 9],
             [-5, -5, 5, 2.5]]  # fmt: skip
    sums = sum_in_boxes(maps, torch.tensor(boxes), (10, 10))
    assert sums.tolist() == [1, 15, 2, 7.5, 0, 0.5]


def test_a_box_holds_the_pixels_of_the_map_in_steps_that_it_covers():
    """Cells of 6 x 4 pixels, each pixel with its share of the cell, and boxes of whole pixels."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(50, 5, 3, generator=generator, dtype=torch.float64)
    corners = torch.stack([torch.randint(19, (50, 2), generator=generator),
                           torch.randint(21, (50, 2), generator=generator)], 2)  # fmt: skip
    low, high = corners.sort(1).values.unbind(1)
    boxes = torch.stack([low[:, 0], low[:, 1], high[:, 0], high[:, 1]], 1)
    pixels = maps.repeat_interleave(4, 1).repeat_interleave(6, 2) / 24
    expected = [p[y0:y1, x0:x1].sum() for p, (x0, y0, x1, y1) in zip(pixels, boxes, strict=True)]
    found = sum_in_boxes(maps, boxes, (18, 20))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-13)


def test_parts_of_a_picture_sum_to_the_whole_map():
    maps = torch.randn(1, 7, 7, dtype=torch.float64).expand(4, 7, 7)
    x, y = 71.3, 155.9
    parts = [[0, 0, x, y], [x, 0, 224, y], [0, y, x, 200], [x, y, 224, 200]]
    sums = sum_in_boxes(maps, torch.tensor(parts, dtype=torch.float64), (224, 200))
    torch.testing.assert_close(sums.sum(), maps[0].sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("maps", "boxes", "size", "error", "message"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(1, 4), (9, 9), ValueError, r"\(2, 3, 3\).*\(1, 4\)"),
        (torch.zeros(3, 3), torch.zeros(3, 4), (9, 9), ValueError, r"\(3, 3\)"),
        (torch.zeros(1, 3, 3).int(), torch.zeros(1, 4), (9, 9), TypeError, "int32"),
        (torch.zeros(1, 3, 3), torch.zeros(1, 4), (9, 0), ValueError, r"\(9, 0\)"),
        (torch.zeros(1, 3, 3), torch.tensor([[2, 0, 1, 1]]), (9, 9), ValueError, "x1 < x0"),
        (torch.zeros(1, 3, 3), torch.full((1, 4), torch.nan), (9, 9), ValueError, "NaN"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_regions_that_make_no_sense_are_refused(maps, boxes, size, error, message):
    with pytest.raises(error, match=message):
        sum_in_boxes(maps, boxes, size)
