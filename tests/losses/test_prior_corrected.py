"""The prior-corrected softmax: identities, gradients, three names, soft targets, module."""

import copy
import functools
import io
import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import COUNTS, case, gradient, same_weights, soft_targets, trained
from slow_reference import EPS, log_ratio, relative_error, rounding_bound
from torch import nn

from softmi import (
    PCSoftmaxLoss,
    balanced_softmax_cross_entropy,
    logit_adjusted_cross_entropy,
    mutual_information,
    pc_cross_entropy,
    pc_log_softmax,
    pc_softmax,
)

half_types = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


# --- pc_softmax: a density ratio --------------------------------------------------------------


@pytest.mark.paper("qin2019", "PC-softmax")
def test_pc_softmax_by_hand():
    """f = (log 3, 0), prior (3/4, 1/4): the sum is 9/4 + 1/4 = 5/2, the ratios 6/5 and 2/5."""
    s = pc_softmax(torch.tensor([[math.log(3), 0.0]], dtype=torch.float64), [0.75, 0.25])
    torch.testing.assert_close(s, torch.tensor([[1.2, 0.4]], dtype=torch.float64))


@pytest.mark.paper("qin2019", "PC-softmax")
@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (30, 0), (1, 1e4), (1e4, 0)], ids=["1", "30", "1+1e4", "1e4"]
)
@pytest.mark.parametrize("tau", [1.0, 0.5, 0.0])
def test_pc_log_softmax_agrees_with_fifty_digits_to_1e12(scale, offset, tau):
    logits, _, counts = case(1, n=6)
    logits, prior = logits / 3 * scale + offset, counts / counts.sum()
    found = pc_log_softmax(logits, prior, tau=tau)
    for row, values in zip(logits, found, strict=True):
        floor = rounding_bound(row, prior)
        for value, exact in zip(values, log_ratio(row, prior, tau=tau), strict=True):
            assert relative_error(value, exact, floor) < 1e-12


@pytest.mark.paper("qin2019", "PC-softmax")
def test_ratios_averaged_over_the_prior_are_one_and_lie_between_zero_and_its_inverse():
    logits, _, counts = case(2)
    prior = counts / counts.sum()
    s = pc_softmax(logits, prior)
    ones = torch.ones(12, dtype=torch.float64)
    torch.testing.assert_close((prior * s).sum(1), ones, rtol=0, atol=5 * 16 * EPS)
    assert (s > 0).all()
    assert (s < 1 / prior).all()


def test_pc_softmax_ranks_classes_as_the_logits_do():
    logits, _, counts = case(3)
    s = pc_softmax(logits, counts / counts.sum())
    assert torch.equal(s.argsort(1), logits.argsort(1))


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_uniform_prior_makes_it_the_softmax_times_m(classes):
    logits = case(4, classes=classes)[0]
    s = pc_softmax(logits, torch.full((classes,), 1 / classes, dtype=torch.float64))
    torch.testing.assert_close(s, classes * torch.softmax(logits, 1), rtol=1e-13, atol=0)


def test_without_correction_it_is_the_softmax_also_when_a_class_has_no_prior():
    logits = case(5)[0]
    plain = torch.softmax(logits, 1)
    for prior in ([0.2] * 5, [0.5, 0.5, 0, 0, 0]):
        torch.testing.assert_close(pc_softmax(logits, prior, tau=0.0), plain, rtol=1e-14, atol=0)


def test_a_class_of_zero_prior_leaves_the_sum():
    logits = case(6)[0]
    s = pc_softmax(logits, [0.2, 0.3, 0.5, 0, 0])
    assert torch.isfinite(s).all()
    torch.testing.assert_close(s[:, :3], pc_softmax(logits[:, :3], [0.2, 0.3, 0.5]))


def test_a_constant_added_to_all_logits_changes_nothing():
    logits = (case(7)[0] * 2**20).round() / 2**20  # the shifted numbers are exact
    prior = [0.1, 0.2, 0.3, 0.25, 0.15]
    assert torch.equal(pc_log_softmax(logits + 10_000, prior), pc_log_softmax(logits, prior))


@half_types
def test_half_precision_is_computed_in_float32(dtype):
    logits = case(8)[0].to(dtype)
    s = pc_softmax(logits, [0.1, 0.2, 0.3, 0.25, 0.15])
    assert s.dtype == torch.float32
    assert torch.equal(s, pc_softmax(logits.float(), [0.1, 0.2, 0.3, 0.25, 0.15]))


def test_an_empty_batch_gives_empty_ratios():
    assert pc_softmax(torch.zeros(0, 2), [0.5, 0.5]).shape == (0, 2)


# --- pc_cross_entropy: values -----------------------------------------------------------------


@pytest.mark.parametrize("tau", [1.0, 0.5, 2.0])
def test_loss_is_cross_entropy_of_shifted_logits_plus_log_prior(tau):
    logits, targets, counts = case(10)
    log_prior = (counts / counts.sum()).log()
    loss = pc_cross_entropy(logits, targets, counts / counts.sum(), tau=tau, reduction="none")
    shifted = F.cross_entropy(logits + tau * log_prior, targets, reduction="none")
    torch.testing.assert_close(loss, shifted + tau * log_prior[targets], rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("scale", [1, 30, 1e4])
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_loss_agrees_with_fifty_digits_to_1e12(scale, tau):
    logits, targets, counts = case(11, n=10)
    logits, prior = logits / 3 * scale, counts / counts.sum()
    losses = pc_cross_entropy(logits, targets, prior, tau=tau, reduction="none")
    for row, y, loss in zip(logits, targets.tolist(), losses, strict=True):
        exact = -log_ratio(row, prior, tau=tau)[y]
        assert relative_error(loss, exact, rounding_bound(row, prior)) < 1e-12


def test_a_large_common_offset_costs_the_loss_no_more_than_its_own_rounding():
    """Unlike pc_log_softmax the training loss does not take the offset out first (speed)."""
    logits, targets, counts = case(12)
    logits = (logits * 2**20).round() / 2**20
    prior = counts / counts.sum()
    near = pc_cross_entropy(logits, targets, prior, reduction="none")
    far = pc_cross_entropy(logits + 10_000, targets, prior, reduction="none")
    # f + log pi is rounded to the spacing of float64 around 10,000, half of 2^-39, twice.
    torch.testing.assert_close(far, near, rtol=0, atol=2 * 2.0**-40 + 64 * EPS)


@pytest.mark.paper("qin2019", "PC-softmax")
def test_loss_is_minus_the_log_ratio_of_the_target():
    logits, targets, counts = case(13)
    prior = counts / counts.sum()
    loss = pc_cross_entropy(logits, targets, prior, reduction="none")
    log_s = pc_log_softmax(logits, prior).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(loss, -log_s, rtol=0, atol=64 * EPS)


@pytest.mark.paper("menon2021", "logit-adjusted cross-entropy")
def test_loss_differs_from_the_logit_adjusted_one_by_the_log_prior_of_the_target():
    logits, targets, counts = case(14)
    log_prior = (counts / counts.sum()).log()
    adjusted = F.cross_entropy(logits + log_prior, targets, reduction="none")
    difference = pc_cross_entropy(logits, targets, log_prior.exp(), reduction="none") - adjusted
    torch.testing.assert_close(difference, log_prior[targets], rtol=0, atol=64 * EPS)


def test_uniform_prior_makes_it_cross_entropy_minus_log_m():
    logits, targets, _ = case(15)
    loss = pc_cross_entropy(logits, targets, torch.full((5,), 0.2, dtype=torch.float64))
    expected = F.cross_entropy(logits, targets) - math.log(5)
    assert loss.item() == pytest.approx(expected.item(), abs=64 * EPS)


def test_mean_loss_is_minus_the_information_estimate():
    logits, targets, counts = case(16)
    prior = counts / counts.sum()
    estimate = mutual_information(logits, targets, prior, prior_corrected=True)
    assert -pc_cross_entropy(logits, targets, prior).item() == pytest.approx(
        estimate.value, rel=1e-13
    )


def test_no_evidence_costs_nothing_and_one_class_costs_nothing():
    assert pc_cross_entropy(torch.zeros(3, 2), torch.tensor([0, 0, 1]), [0.9, 0.1]).item() == (
        pytest.approx(0, abs=2**-23)
    )
    assert pc_cross_entropy(torch.tensor([[7.0]]), torch.tensor([0]), [1.0]).item() == 0


@pytest.mark.parametrize("prior", [[0.2] * 5, [0.5, 0.5, 0, 0, 0]], ids=["skewed", "zeros"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_correction_it_is_pytorchs_cross_entropy(prior, smoothing):
    logits, targets, _ = case(17)
    loss = pc_cross_entropy(logits, targets, prior, tau=0.0, label_smoothing=smoothing)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-14)


def test_reductions_are_none_sum_and_mean():
    logits, targets, counts = case(18)
    prior = counts / counts.sum()
    each = pc_cross_entropy(logits, targets, prior, reduction="none")
    assert each.shape == (12,)
    assert pc_cross_entropy(logits, targets, prior, reduction="sum").item() == each.sum().item()
    assert pc_cross_entropy(logits, targets, prior).item() == each.mean().item()


def test_losses_of_parts_of_a_batch_are_those_of_the_whole():
    logits, targets, counts = case(19)
    prior = counts / counts.sum()
    whole = pc_cross_entropy(logits, targets, prior, reduction="none")
    parts = [
        pc_cross_entropy(a, b, prior, reduction="none")
        for a, b in zip(logits.split(5), targets.split(5), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_huge_logits_give_finite_losses_and_gradients():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=torch.float64)
    targets = torch.tensor([0, 0])
    losses = pc_cross_entropy(logits, targets, [0.25, 0.75], reduction="none")
    # Right and certain: minus log(1/pi). Wrong and certain: 2e4 + log pi of the other class.
    assert losses.tolist() == pytest.approx([math.log(0.25), 2e4 + math.log(0.75)], rel=1e-12)
    slope = gradient(lambda f: pc_cross_entropy(f, targets, [0.25, 0.75]), logits)
    assert slope.tolist() == [[0, 0], [-0.5, 0.5]]


@half_types
def test_loss_of_half_precision_is_computed_in_float32_and_its_gradient_is_half(dtype):
    logits, targets, counts = case(20)
    prior = counts / counts.sum()
    low = logits.to(dtype).requires_grad_(True)
    loss = pc_cross_entropy(low, targets, prior)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, pc_cross_entropy(low.detach().float(), targets, prior))
    loss.backward()
    assert low.grad.dtype == dtype
    exact = gradient(lambda f: pc_cross_entropy(f, targets, prior), low.detach().double())
    # The float32 gradient rounded once to half precision; subnormals of float16 end at 2^-24.
    torch.testing.assert_close(
        low.grad.double(), exact, rtol=torch.finfo(dtype).eps, atol=2.0**-24
    )


# --- pc_cross_entropy: gradients --------------------------------------------------------------


@pytest.mark.paper("ren2020", "balanced softmax")
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_balanced_softmax_as_ren_et_al_write_it(seed):
    """-log( n_y e^f_y / sum_k n_k e^f_k ), with samples per class n_k."""
    logits, targets, counts = case(seed)

    def balanced_softmax(f):
        terms = counts * f.exp()
        return -(terms.gather(1, targets[:, None])[:, 0] / terms.sum(1)).log().mean()

    ours = gradient(lambda f: pc_cross_entropy(f, targets, counts / counts.sum()), logits)
    torch.testing.assert_close(ours, gradient(balanced_softmax, logits), rtol=0, atol=1e-12)


@pytest.mark.paper("menon2021", "logit-adjusted cross-entropy")
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_gradient_is_that_of_the_logit_adjusted_loss_as_menon_et_al_write_it(tau):
    """log( 1 + sum_{k != y} (pi_k / pi_y)^tau e^(f_k - f_y) )."""
    logits, targets, counts = case(3)
    prior = counts / counts.sum()

    def logit_adjusted(f):
        own = F.one_hot(targets, 5).bool()
        ratio = (prior / prior[targets][:, None]) ** tau
        margins = ratio * (f - f.gather(1, targets[:, None])).exp()
        return torch.log1p(margins.masked_fill(own, 0).sum(1)).mean()

    ours = gradient(lambda f: pc_cross_entropy(f, targets, prior, tau=tau), logits)
    torch.testing.assert_close(ours, gradient(logit_adjusted, logits), rtol=0, atol=1e-12)


def test_gradient_does_not_see_the_scale_of_the_class_counts():
    logits, targets, counts = case(4)
    a = gradient(lambda f: PCSoftmaxLoss(class_counts=counts)(f, targets), logits)
    b = gradient(lambda f: PCSoftmaxLoss(class_counts=1000 * counts)(f, targets), logits)
    torch.testing.assert_close(a, b, rtol=0, atol=8 * EPS)


def test_gradients_of_a_sample_sum_to_zero_over_classes():
    """Hence the mean of the class weights never moves, and mean-centred infoCAM is nearly CAM."""
    logits, targets, counts = case(5)
    slope = gradient(lambda f: pc_cross_entropy(f, targets, counts / counts.sum()), logits)
    torch.testing.assert_close(slope.sum(1), torch.zeros(12).double(), rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_the_derivative(tau, smoothing):
    logits, targets, counts = case(6, n=4, classes=3)
    prior = counts / counts.sum()

    def loss(f):
        return pc_cross_entropy(f, targets, prior, tau=tau, label_smoothing=smoothing)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_(True))
    assert torch.autograd.gradgradcheck(loss, logits)
    assert torch.autograd.gradcheck(lambda f: pc_log_softmax(f, prior, tau=tau), logits)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_label_smoothing_has_the_gradient_of_pytorchs_on_adjusted_logits(tau):
    logits, targets, counts = case(7)
    prior = counts / counts.sum()
    ours = gradient(
        lambda f: pc_cross_entropy(f, targets, prior, tau=tau, label_smoothing=0.1), logits
    )
    theirs = gradient(
        lambda f: F.cross_entropy(f + tau * prior.log(), targets, label_smoothing=0.1), logits
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_label_smoothing_mixes_the_losses_of_all_classes():
    logits, targets, counts = case(8)
    prior = counts / counts.sum()
    smoothed = pc_cross_entropy(logits, targets, prior, label_smoothing=0.3, reduction="none")
    log_s = pc_log_softmax(logits, prior)
    expected = -0.7 * log_s.gather(1, targets[:, None])[:, 0] - 0.3 * log_s.mean(1)
    torch.testing.assert_close(smoothed, expected, rtol=0, atol=64 * EPS)


def test_label_smoothing_gives_no_mass_to_a_class_that_cannot_occur():
    logits, targets, _ = case(9, classes=3)
    wider = torch.cat([logits, case(10, classes=1)[0]], dim=1)

    def loss(f, prior):
        return pc_cross_entropy(f, targets, prior, label_smoothing=0.3)

    prior = [0.2, 0.3, 0.5]
    assert loss(wider, [*prior, 0]).item() == pytest.approx(loss(logits, prior).item(), rel=1e-14)
    slope = gradient(lambda f: loss(f, [*prior, 0]), wider)
    assert torch.equal(slope[:, 3], torch.zeros(12).double())
    torch.testing.assert_close(
        slope[:, :3], gradient(lambda f: loss(f, prior), logits), rtol=0, atol=8 * EPS
    )


# --- One loss, three names --------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft"])
def test_the_three_names_have_one_gradient(smoothing, soft):
    logits, targets, counts = case(1)
    targets = soft_targets() if soft else targets
    prior = counts / counts.sum()
    pc, la, bs = (
        gradient(lambda f, loss=loss, p=p: loss(f, targets, p, label_smoothing=smoothing), logits)
        for loss, p in (
            (pc_cross_entropy, prior),
            (logit_adjusted_cross_entropy, prior),
            (balanced_softmax_cross_entropy, counts),
        )
    )
    assert torch.equal(pc, la)
    assert torch.equal(pc, bs)
    theirs = gradient(
        lambda f: F.cross_entropy(f + counts.log(), targets, label_smoothing=smoothing), logits
    )
    torch.testing.assert_close(bs, theirs, rtol=0, atol=1e-12)


@pytest.mark.paper("ren2020", "balanced softmax")
@pytest.mark.paper("menon2021", "logit-adjusted cross-entropy")
@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_their_values_differ_by_the_log_prior_of_the_target(tau):
    logits, targets, counts = case(2)
    prior = counts / counts.sum()
    pc = pc_cross_entropy(logits, targets, prior, tau=tau, reduction="none")
    la = logit_adjusted_cross_entropy(logits, targets, prior, tau=tau, reduction="none")
    assert torch.equal(pc, la + tau * prior.log()[targets])
    if tau == 1:
        bs = balanced_softmax_cross_entropy(logits, targets, counts, reduction="none")
        assert torch.equal(bs, la)
        # As the paper's code has it; log n is up to 7, log N up to 9: it cancels to rounding.
        theirs = F.cross_entropy(logits + counts.log(), targets, reduction="none")
        torch.testing.assert_close(bs, theirs, rtol=0, atol=64 * EPS)


def test_the_same_seed_trains_the_same_weights_to_the_bit_under_each_name():
    prior = COUNTS / COUNTS.sum()
    pc = trained(PCSoftmaxLoss(class_counts=COUNTS))
    assert same_weights(pc, trained(functools.partial(pc_cross_entropy, prior=prior)))
    assert same_weights(pc, trained(functools.partial(logit_adjusted_cross_entropy, prior=prior)))
    balanced = functools.partial(balanced_softmax_cross_entropy, class_counts=COUNTS)
    assert same_weights(pc, trained(balanced))
    assert not same_weights(pc, trained(F.cross_entropy))


# --- Soft targets -----------------------------------------------------------------------------


def test_soft_targets_mix_the_losses_of_labels():
    logits, _, counts = case(3)
    prior, t = counts / counts.sum(), soft_targets()
    each = torch.stack(
        [
            pc_cross_entropy(logits, torch.full((12,), k), prior, reduction="none")
            for k in range(5)
        ],
        dim=1,
    )
    found = pc_cross_entropy(logits, t, prior, reduction="none")
    torch.testing.assert_close(found, (t * each).sum(1), rtol=0, atol=64 * EPS)


def test_soft_targets_of_one_class_are_its_label():
    logits, targets, counts = case(4)
    one_hot = F.one_hot(targets, 5).double()
    for loss in (PCSoftmaxLoss(class_counts=counts, label_smoothing=s) for s in (0.0, 0.1)):
        torch.testing.assert_close(
            loss(logits, one_hot), loss(logits, targets), rtol=0, atol=64 * EPS
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_soft_targets_without_correction_are_pytorchs(smoothing, reduction):
    logits, t = case(5)[0], soft_targets()
    options = {"reduction": reduction, "label_smoothing": smoothing}
    found = pc_cross_entropy(logits, t, [0.2] * 5, tau=0.0, **options)
    torch.testing.assert_close(found, F.cross_entropy(logits, t, **options), rtol=1e-13, atol=0)


def test_gradients_of_soft_targets_are_the_derivative_also_by_the_targets():
    logits, _, counts = case(6, n=4, classes=3)
    scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def loss(f, g):
        return pc_cross_entropy(f, g.softmax(1), counts / counts.sum(), label_smoothing=0.1)

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(True), scores))


def test_soft_targets_leave_out_a_class_that_cannot_occur():
    logits, t = case(7)[0], soft_targets(classes=4)
    prior = [0.1, 0.2, 0.3, 0.4]
    wider = torch.cat([t, torch.zeros(12, 1, dtype=torch.float64)], dim=1)

    def slope(f, targets, pi):
        return gradient(lambda f: pc_cross_entropy(f, targets, pi, label_smoothing=0.1), f)

    found = slope(logits, wider, [*prior, 0])
    assert torch.equal(found[:, 4], torch.zeros(12, dtype=torch.float64))
    torch.testing.assert_close(found[:, :4], slope(logits[:, :4], t, prior), rtol=0, atol=8 * EPS)


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_soft_targets_are_refused_with_what_came_in():
    logits, half = torch.zeros(2, 2), torch.full((2, 2), 0.5)
    for t, prior, message in (
        (half, [1.0, 0.0], r"zero prior: \[1\]"),
        (half[:1], [0.5, 0.5], r"shape \(2, 2\) of the logits, got shape \(1, 2\)"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.6]]), [0.5, 0.5], "1 of 2 do not.*row 1, sums to 1.1"),
        (torch.tensor([[0.5, 0.5], [math.nan, 0.5]]), [0.5, 0.5], "row 1, sums to nan"),
        (torch.tensor([[0.5, 0.5], [1.5, -0.5]]), [0.5, 0.5], "not be negative, got -0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            pc_cross_entropy(logits, t, prior)


def test_soft_targets_in_half_precision_may_sum_to_one_roughly():
    t = soft_targets().to(torch.bfloat16)
    assert (t.sum(1, dtype=torch.float64) != 1).any()
    assert torch.isfinite(pc_cross_entropy(torch.zeros(12, 5), t, [0.2] * 5))


# --- Hostile input ----------------------------------------------------------------------------


LOGITS, TARGETS, PRIOR = torch.zeros(3, 2), torch.tensor([0, 1, 1]), [0.4, 0.6]


def with_entry(value: float, row: int, column: int) -> torch.Tensor:
    logits = torch.zeros(3, 2)
    logits[row, column] = value
    return logits


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("logits", "targets", "prior", "error", "message"),
    [
        ([[0.0]], TARGETS, PRIOR, TypeError, "logits must be a torch.Tensor, got list"),
        (LOGITS.int(), TARGETS, PRIOR, TypeError, r"floating point, got shape \(3, 2\).*int32"),
        (LOGITS[0], TARGETS, PRIOR, ValueError, r"\(samples, classes\), got shape \(2,\)"),
        (LOGITS[:0], TARGETS[:0], PRIOR, ValueError, r"no samples: shape \(0, 2\)"),
        (LOGITS, [0, 1, 1], PRIOR, TypeError, "targets must be a torch.Tensor, got list"),
        (LOGITS, TARGETS.float(), PRIOR, TypeError, "integer class indices.*float32"),
        (LOGITS, TARGETS[:2], PRIOR, ValueError, r"shape \(3,\).*got shape \(2,\)"),
        (LOGITS, TARGETS + 1, PRIOR, ValueError, r"\[0, 2\) for 2 classes, got .* 1 to 2"),
        (LOGITS, TARGETS - 1, PRIOR, ValueError, r"\[0, 2\).*got values from -1 to 0"),
        (LOGITS, TARGETS, [1.0, 0.0], ValueError, r"zero prior: \[1\]"),
        (LOGITS, TARGETS, [0.4, 0.7], ValueError, r"sum to 1, got a sum of 1\.1 from"),
        (LOGITS, TARGETS, [1.4, -0.4], ValueError, r"non-negative, got \[1\.4, -0\.4\]"),
        (LOGITS, TARGETS, [0.2, 0.3, 0.5], ValueError, "3 entries, but there are 2 classes"),
        (with_entry(math.nan, 1, 0), TARGETS, PRIOR, ValueError, r"1 of 6 .*\(1, 0\) is nan"),
        (with_entry(math.inf, 2, 0), TARGETS, PRIOR, ValueError, r"\(2, 0\) is inf"),
        (with_entry(math.inf, 2, 1), TARGETS, PRIOR, ValueError, r"\(2, 1\) is inf"),
        (with_entry(-math.inf, 2, 1), TARGETS, PRIOR, ValueError, r"\(2, 1\) is -inf"),
        (with_entry(-math.inf, 0, 0), TARGETS, PRIOR, ValueError, r"1 of 6 .*\(0, 0\) is -inf"),
    ],
)
def test_bad_input_is_refused_with_what_came_in(logits, targets, prior, error, message):
    with pytest.raises(error, match=message):
        pc_cross_entropy(logits, targets, prior)
    if "prior" not in message and prior is PRIOR:
        with pytest.raises(error, match=message):
            PCSoftmaxLoss(prior)(logits, targets)
    if targets is TARGETS and "zero prior" not in message:
        with pytest.raises(error, match=message.replace("no samples", ".*")):
            pc_log_softmax(logits, prior)


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_options_are_refused_with_what_came_in():
    with pytest.raises(ValueError, match='"mean", "sum" or "none", got \'avg\''):
        pc_cross_entropy(LOGITS, TARGETS, PRIOR, reduction="avg")
    for bad in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"label_smoothing must be in \[0, 1\), got {bad}"):
            pc_cross_entropy(LOGITS, TARGETS, PRIOR, label_smoothing=bad)


def test_finite_logits_whose_sum_overflows_are_no_error():
    logits = torch.tensor([[3e38, 3e38]])
    loss = pc_cross_entropy(logits, torch.tensor([0]), [0.5, 0.5])
    assert loss.item() == pytest.approx(0, abs=2**-22)


# --- PCSoftmaxLoss ----------------------------------------------------------------------------


def test_module_is_the_function():
    logits, targets, counts = case(40)
    prior = counts / counts.sum()
    options = {"tau": 0.5, "reduction": "sum", "label_smoothing": 0.1}
    expected = pc_cross_entropy(logits, targets, prior, **options).item()
    for module in (PCSoftmaxLoss(prior, **options), PCSoftmaxLoss(class_counts=counts, **options)):
        assert module(logits, targets).item() == pytest.approx(expected, rel=1e-14)
        torch.testing.assert_close(module.prior, prior, rtol=1e-14, atol=0)


def test_module_has_a_buffer_and_no_parameter():
    module = PCSoftmaxLoss([0.4, 0.6])
    assert list(module.parameters()) == []
    assert [name for name, _ in module.named_buffers()] == ["log_prior"]


@pytest.mark.parametrize(
    "convert", [nn.Module.half, nn.Module.bfloat16, lambda m: m.to(torch.float16)]
)
def test_casting_a_model_to_half_precision_keeps_the_digits_of_the_prior(convert):
    prior = torch.tensor([0.001, 0.999], dtype=torch.float64)
    module = nn.ModuleDict({"net": nn.Linear(3, 2), "loss": PCSoftmaxLoss(prior)})
    convert(module)
    assert module["net"].weight.dtype in (torch.float16, torch.bfloat16)
    assert torch.equal(module["loss"].log_prior, prior.log())
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).to(
        module["net"].weight.dtype
    )
    targets = torch.tensor([0, 1, 1, 1])
    assert torch.equal(module["loss"](logits, targets), pc_cross_entropy(logits, targets, prior))


def test_buffer_follows_the_module_to_its_device_and_stays_there_when_cast():
    module = PCSoftmaxLoss([0.4, 0.6]).to("meta")
    assert module.log_prior.device.type == "meta"
    assert module.half().log_prior.device.type == "meta"
    assert module.log_prior.dtype == torch.float64


def test_state_dict_round_trip():
    saved = io.BytesIO()
    source = PCSoftmaxLoss(class_counts=[900, 90, 10])
    torch.save(source.state_dict(), saved)
    saved.seek(0)
    target = PCSoftmaxLoss([1 / 3] * 3)
    target.load_state_dict(torch.load(saved, weights_only=True))
    assert torch.equal(target.log_prior, source.log_prior)


def test_update_prior_takes_another_number_of_classes():
    module = PCSoftmaxLoss([0.4, 0.6])
    module.update_prior(class_counts=[1, 2, 1])
    torch.testing.assert_close(module.prior, torch.tensor([0.25, 0.5, 0.25]).double())
    assert "log_prior" in module.state_dict()
    logits, targets, _ = case(41, classes=3)
    assert module(logits, targets).item() == pytest.approx(
        pc_cross_entropy(logits, targets, [0.25, 0.5, 0.25]).item(), rel=1e-14
    )


def test_update_prior_keeps_the_device():
    module = PCSoftmaxLoss([0.4, 0.6]).to("meta")
    for new in ({"prior": torch.tensor([0.9, 0.1])}, {"class_counts": [1, 2, 1]}):
        module.update_prior(**new)
        assert module.log_prior.device.type == "meta"


def test_a_deep_copy_has_its_own_prior():
    module = PCSoftmaxLoss([0.4, 0.6])
    other = copy.deepcopy(module)
    other.update_prior([0.9, 0.1])
    torch.testing.assert_close(module.prior, torch.tensor([0.4, 0.6]).double())


@pytest.mark.usefixtures("no_shape_checks")
def test_module_refuses_what_it_cannot_use():
    for arguments in ({}, {"prior": [0.4, 0.6], "class_counts": [4, 6]}):
        with pytest.raises(ValueError, match="exactly one of prior and class_counts"):
            PCSoftmaxLoss(**arguments)
    with pytest.raises(ValueError, match=r"non-negative, got \[4\.0, -1\.0\]"):
        PCSoftmaxLoss(class_counts=torch.tensor([4.0, -1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"hold no sample: \[0\.0, 0\.0\]"):
        PCSoftmaxLoss(class_counts=[0, 0])
    with pytest.raises(ValueError, match=r"over 2 classes, but logits have shape \(1, 3\)"):
        PCSoftmaxLoss([0.4, 0.6])(torch.zeros(1, 3), torch.tensor([0]))


def test_representation_says_what_the_loss_is():
    text = repr(PCSoftmaxLoss([0.4, 0.6], tau=0.5, label_smoothing=0.1))
    assert "classes=2, tau=0.5, reduction='mean', label_smoothing=0.1" in text
