"""Class weights and the focal loss."""

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from loss_cases import WEIGHTS, case, gradient
from slow_reference import EPS
from torchvision.ops import sigmoid_focal_loss

from softmi import balanced_class_weights, focal_loss, ldam_loss

# --- Class weights ----------------------------------------------------------------------------


def test_inverse_frequencies_have_mean_one_over_the_classes_that_occur():
    weights = balanced_class_weights([30, 10, 0])
    assert weights.dtype == torch.float32
    assert weights.tolist() == [0.5, 1.5, 0]
    torch.testing.assert_close(balanced_class_weights([3000, 1000, 0]), weights)


@pytest.mark.paper("cui2019", "class-balanced weights")
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-12])
def test_class_balanced_weights_agree_with_fifty_digits(beta):
    counts = [5000, 100, 1, 0]
    with mp.workdps(50):
        raw = [(1 - mp.mpf(beta)) / (1 - mp.mpf(beta) ** n) for n in counts[:3]]
        expected = [float(3 * w / sum(raw)) for w in raw]
    found = balanced_class_weights(counts, beta=beta).tolist()
    # Rounded once to float32. log(beta) itself is known to EPS / (1 - beta), which cancels.
    assert found == pytest.approx([*expected, 0], rel=2.0**-23)


def test_beta_goes_from_equal_weights_to_inverse_frequencies():
    counts = [5000, 100, 1]
    assert balanced_class_weights(counts, beta=0.0).tolist() == [1, 1, 1]
    torch.testing.assert_close(
        balanced_class_weights(counts, beta=1 - 1e-12),
        balanced_class_weights(counts), rtol=1e-6, atol=0,
    )  # fmt: skip


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_counts_and_weights_are_refused_with_what_came_in():
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\), .* got 1"):
        balanced_class_weights([1, 2], beta=1.0)
    with pytest.raises(ValueError, match="finite and non-negative"):
        balanced_class_weights([1, -2])
    with pytest.raises(ValueError, match=r"shape \(classes,\), got shape \(1, 2\)"):
        balanced_class_weights(torch.ones(1, 2))
    logits, y = torch.zeros(1, 2), torch.tensor([0])
    for weights, message in (
        ([1.0, -1.0], r"non-negative, got \[1\.0, -1\.0\]"),
        ([1.0], "1 entries, but there are 2 classes"),
        ([0.0, 1.0], "weights of all 1 targets are zero"),
    ):
        with pytest.raises(ValueError, match=message):
            focal_loss(logits, y, class_weights=weights)
        with pytest.raises(ValueError, match=message):
            ldam_loss(logits, y, [1, 1], class_weights=weights)


# --- Focal loss -------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_focus_it_is_pytorchs_weighted_cross_entropy(reduction):
    logits, targets, _ = case(20)
    found = focal_loss(logits, targets, gamma=0.0, class_weights=WEIGHTS, reduction=reduction)
    expected = F.cross_entropy(logits, targets, weight=WEIGHTS, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.paper("lin2017", "focal loss")
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_of_two_classes_it_is_torchvisions_of_the_logit_difference(gamma):
    logits, targets, _ = case(21, classes=2)
    found = focal_loss(logits, targets, gamma=gamma, class_weights=[0.75, 0.25], reduction="none")
    theirs = sigmoid_focal_loss(
        logits[:, 1] - logits[:, 0], targets.double(), alpha=0.25, gamma=gamma
    )
    # Theirs subtracts p_t from one: the few digits of 1 - p_t that are lost at logits of 10.
    torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.paper("lin2017", "focal loss")
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_agrees_with_fifty_digits(gamma):
    logits, targets, _ = case(22)
    losses = focal_loss(logits, targets, gamma=gamma, reduction="none")
    for row, y, found in zip(logits.tolist(), targets.tolist(), losses.tolist(), strict=True):
        with mp.workdps(50):
            q = mp.exp(row[y]) / sum(mp.exp(f) for f in row)
            expected = float(-((1 - q) ** mp.mpf(gamma)) * mp.log(q))
        # log q is rounded at the size of the logits, 10, and enters gamma + 1 times.
        assert found == pytest.approx(expected, rel=1e-12, abs=(gamma + 1) * 16 * EPS)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients_of_focal_loss_are_the_derivative(gamma):
    logits, targets, _ = case(23, n=4)
    logits.requires_grad_(True)

    def loss(f):
        return focal_loss(f, targets, gamma=gamma, class_weights=WEIGHTS + 1)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_sure_sample_has_a_finite_gradient_for_any_focus(gamma):
    logits = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    slope = gradient(lambda f: focal_loss(f, torch.tensor([0, 0]), gamma=gamma), logits)
    assert torch.isfinite(slope).all()
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))
