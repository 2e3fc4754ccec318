"""Class activation maps by hand, and the identities of the contrast family."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from softmi import (
    class_activation_map,
    contrast_weights,
    pointwise_mutual_information,
    window_sum,
)

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


@pytest.mark.paper("zhou2016", "class activation map")
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


@pytest.mark.paper("qin2021infocam", "section 2")
@pytest.mark.paper("zhang2025", "Finer-CAM's contrast")
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


@pytest.mark.paper("zhou2016", "class activation map")
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


@pytest.mark.paper("qin2021infocam", "section 2")
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


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_weights_are_contrasted_in_float32(contrast, dtype):
    """Their sum over classes, and a difference of two, leave float16's range."""
    weights = (torch.tensor([[40_000.0], [-40_000.0], [-40_000.0], [-50_000.0]])).to(dtype)
    logits = torch.tensor([[4.0, 2.0, 3.0, 1.0]])
    options = {"contrast": contrast, "logits": logits, "rivals": 2}
    found = contrast_weights(weights, torch.tensor([0]), **options)
    assert found.dtype == torch.float32
    exact = contrast_weights(weights.double(), torch.tensor([0]), **options)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)  # float32
    # Through the map as well: 90,000 / 2 cells x 1/2 is within float16 again.
    maps = torch.full((1, 1, 1, 2), 0.5, dtype=dtype)
    cell = class_activation_map(maps, weights, torch.tensor([0]), **options)[0, 0, 0]
    assert cell.item() == pytest.approx(exact.item() / 4, rel=torch.finfo(dtype).eps)


@pytest.mark.usefixtures("no_shape_checks")  # annotations know signed integers only
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_classes_of_any_integer_type_are_indices(contrast, dtype):
    """PyTorch indexes by uint8 as by a mask, and takes only int64 for one-hot."""
    maps, weights, _, logits, _ = case(16)
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    options = {"contrast": contrast, "rivals": 2, "logits": logits}
    expected = contrast_weights(weights, labels, **options)
    assert torch.equal(contrast_weights(weights, labels.to(dtype), **options), expected)
    found = class_activation_map(maps, weights, labels.to(dtype), **options)
    assert torch.equal(found, class_activation_map(maps, weights, labels, **options))


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
        ({"feature_maps": MAPS[0]}, ValueError, r"feature_maps .* width\), got shape \(2, 2, 2\)"),
        ({"feature_maps": MAPS[:0]}, ValueError, r"feature_maps .*\(0, 2, 2, 2.*, which is empty"),
        ({"weights": WEIGHTS[0]}, ValueError, r"weights .* channels\), got shape \(2,\)"),
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
@pytest.mark.parametrize("call", ["weights", "map"])
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"classes": torch.tensor([-1])}, ValueError, r"\[0, 3\) for 3 classes, got .* -1 to -1"),
        ({"classes": torch.tensor([3])}, ValueError, r"\[0, 3\) for 3 classes, got .* 3 to 3"),
        ({"classes": torch.tensor([True])}, TypeError, "integer class indices.*bool"),
        ({"classes": torch.tensor([1.0])}, TypeError, "integer class indices.*float32"),
        ({"classes": torch.tensor(1)}, ValueError, r"shape \(.*got shape \(\)"),
        ({"classes": torch.tensor([[1]])}, ValueError, r"shape \(.*got shape \(1, 1\)"),
        ({"weights": WEIGHTS.int()}, TypeError, "weights must be floating.*int32"),
        ({"weights": WEIGHTS[0]}, ValueError, r"weights .* channels\), got shape \(2,\)"),
        ({"weights": WEIGHTS[:0]}, ValueError, r"weights must have shape .*, which is empty"),
        (
            {"weights": WEIGHTS / 0},
            ValueError,
            r"weights must be finite: 6 of 6 .*\(0, 0\) is inf",
        ),
    ],
)
def test_bad_classes_and_weights_are_refused_whatever_the_contrast(
    call, contrast, change, error, message
):
    arguments = {"weights": WEIGHTS, "classes": torch.tensor([0])} | change
    options = {"contrast": contrast, "rivals": 1, "logits": torch.zeros(1, 3)}
    function = {"weights": contrast_weights, "map": partial(class_activation_map, MAPS)}[call]
    with pytest.raises(error, match=message):
        function(**arguments, **options)
