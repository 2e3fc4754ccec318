"""One loss under three names, soft targets, the folded head; and focal loss, LDAM, weights."""

import copy
import functools
import math
import re
from pathlib import Path

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from compiling import compiled_like_eager
from slow_reference import EPS
from test_losses import case, gradient
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import sigmoid_focal_loss

from softmi import (
    FocalLoss,
    GaussianClasses,
    LDAMLoss,
    NormalisedLinear,
    PCSoftmaxLoss,
    balanced_class_weights,
    balanced_softmax_cross_entropy,
    fit,
    focal_loss,
    fold_prior,
    ldam_loss,
    logit_adjusted_cross_entropy,
    pc_cross_entropy,
    unfold_prior,
)
from softmi.models import MLP
from softmi.training import TensorBatches

PAGE = (Path(__file__).parents[2] / "book" / "imbalance.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def global_generator():
    """Networks are drawn from the global generator, and `fit` seeds it: put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def soft_targets(n: int = 12, classes: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(50)
    return torch.randn(n, classes, generator=generator, dtype=torch.float64).softmax(1)


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


def trained(loss, *, model=None, epochs: int = 3, **options) -> nn.Module:
    """A small network after some epochs on skewed labels."""
    task = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.7, 0.2, 0.1])
    x, y = task.sample(96, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = model or MLP(2, 3, hidden=16)
    dtype = next(model.parameters()).dtype
    options = {"optimizer": functools.partial(torch.optim.Adam, lr=0.01)} | options
    fit(model, TensorBatches(x.to(dtype), y), loss, epochs=epochs, batch_size=16, device="cpu",
        **options)  # fmt: skip
    return model


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(u, v) for u, v in pairs)


COUNTS = torch.tensor([67.0, 19.0, 10.0], dtype=torch.float64)


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
        (half[:1], [0.5, 0.5], r"shape of the logits, \(2, 2\), got shape \(1, 2\)"),
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


# --- Ruled-out classes ------------------------------------------------------------------------


def masked(targets: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Rule out the class after the target's in each row."""
    other = (targets + 1) % logits.shape[1]
    return logits.scatter(1, other[:, None], -math.inf)


def test_minus_infinity_elsewhere_than_at_the_target_rules_a_class_out_of_the_row():
    logits, targets, counts = case(8)
    prior = counts / counts.sum()
    losses = pc_cross_entropy(masked(targets, logits), targets, prior, reduction="none")
    for row, y, found in zip(logits, targets.tolist(), losses, strict=True):
        keep = torch.arange(5) != (y + 1) % 5
        lse = (row + prior.log())[keep].logsumexp(0)
        torch.testing.assert_close(found, lse - row[y], rtol=0, atol=64 * EPS)
    slope = gradient(lambda f: pc_cross_entropy(masked(targets, f), targets, prior), logits)
    assert torch.isfinite(slope).all()
    assert (slope.gather(1, ((targets + 1) % 5)[:, None]) == 0).all()


def test_ruled_out_classes_are_pytorchs_in_every_loss():
    logits, targets, _ = case(9)
    logits = masked(targets, logits)
    expected = F.cross_entropy(logits, targets)
    soft = F.one_hot(targets, 5).double()
    for found in (
        pc_cross_entropy(logits, targets, [0.2] * 5, tau=0.0),
        pc_cross_entropy(logits, soft, [0.2] * 5, tau=0.0),
        focal_loss(logits, targets, gamma=0.0),
        ldam_loss(logits, targets, [1] * 5, max_margin=0.0, scale=1.0),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


def test_smoothing_over_a_ruled_out_class_is_refused():
    logits, targets, _ = case(10)
    with pytest.raises(ValueError, match="12 of 60 entries are NaN or infinite"):
        pc_cross_entropy(masked(targets, logits), targets, [0.2] * 5, label_smoothing=0.1)


def test_the_message_names_the_bad_logit_and_not_a_ruled_out_class():
    logits = torch.zeros(3, 3)
    logits[0, 1], logits[2, 0], logits[2, 1] = -math.inf, -math.inf, math.nan
    targets = torch.tensor([0, 0, 2])
    for loss in (
        functools.partial(pc_cross_entropy, prior=[0.2, 0.3, 0.5]),
        focal_loss,
        functools.partial(ldam_loss, class_counts=[1, 2, 3]),
    ):
        with pytest.raises(ValueError, match=r"1 of 9 .*\(2, 1\) is nan"):
            loss(logits, targets)


# --- What the loss keeps in memory ------------------------------------------------------------


def test_the_loss_keeps_no_more_of_the_size_of_the_logits_than_pytorchs():
    logits, targets, counts = case(11, n=64, classes=50)
    kept = {}
    for name, loss in (("ours", PCSoftmaxLoss(class_counts=counts)), ("torch", F.cross_entropy)):
        sizes = kept.setdefault(name, [])

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss(logits.clone().requires_grad_(True), targets)
    large = {name: sum(size >= 64 * 50 for size in sizes) for name, sizes in kept.items()}
    assert large["ours"] <= large["torch"]
    assert large["torch"] > 0


# --- The folded head --------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ],
    ids=["momentum", "nesterov"],
)
def test_a_folded_head_under_cross_entropy_trains_the_weights_of_pc_softmax(tau, optimizer):
    prior = COUNTS / COUNTS.sum()
    torch.manual_seed(1)
    start = Net().double()
    pc = trained(PCSoftmaxLoss(prior, tau=tau), model=copy.deepcopy(start), optimizer=optimizer)
    folded = copy.deepcopy(start)
    folded.head = fold_prior(folded.head, prior, tau=tau)
    folded = trained(F.cross_entropy, model=folded, optimizer=optimizer)
    folded.head = unfold_prior(folded.head, prior, tau=tau)
    for found, expected in zip(folded.parameters(), pc.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(pc.head.weight, start.head.weight)


def test_weight_decay_on_the_bias_is_not_the_same_and_is_the_same_when_left_out():
    prior = COUNTS / COUNTS.sum()
    torch.manual_seed(1)
    start = Net().double()

    def distance(decay_bias: bool) -> float:
        biases = []
        for fold in (False, True):
            net = copy.deepcopy(start)
            if fold:
                net.head = fold_prior(net.head, prior)
            others = [p for p in net.parameters() if p is not net.head.bias]
            groups = [
                {"params": others, "weight_decay": 0.01},
                {"params": [net.head.bias], "weight_decay": 0.01 * decay_bias},
            ]
            loss = F.cross_entropy if fold else PCSoftmaxLoss(prior)
            trained(loss, model=net, optimizer=lambda _, g=groups: torch.optim.SGD(g, lr=0.1))
            biases.append(unfold_prior(net.head, prior).bias if fold else net.head.bias)
        return float((biases[0] - biases[1]).detach().abs().max())

    assert distance(decay_bias=False) < 1e-12
    # Eighteen steps of 0.1 with decay 0.01 take some 2 % of log pi, which is 0.4 to 2.3.
    assert distance(decay_bias=True) > 1e-3


def test_unfolding_takes_out_what_folding_put_in_and_leaves_the_given_head():
    head = nn.Linear(4, 3)
    before = head.bias.detach().clone()
    folded = fold_prior(head, [0.2, 0.3, 0.5])
    assert torch.equal(head.bias, before)
    assert folded.bias.requires_grad
    assert torch.equal(folded.weight, head.weight)
    assert folded.weight is not head.weight
    back = unfold_prior(folded, [0.2, 0.3, 0.5])
    # Two roundings of numbers below 4.
    torch.testing.assert_close(back.bias, before, rtol=0, atol=4 * 2.0**-23)


def test_a_head_without_bias_gets_one_that_is_not_trained():
    folded = fold_prior(nn.Linear(4, 3, bias=False), [0.2, 0.3, 0.5])
    torch.testing.assert_close(folded.bias, torch.tensor([0.2, 0.3, 0.5]).log())
    assert not folded.bias.requires_grad
    back = unfold_prior(folded, [0.2, 0.3, 0.5]).bias
    torch.testing.assert_close(back, torch.zeros(3), rtol=0, atol=2 * 2.0**-23)  # log pi above -2


@pytest.mark.usefixtures("no_shape_checks")
def test_folding_refuses_what_it_cannot_fold():
    with pytest.raises(ValueError, match=r"zero for classes \[1\]: the bias would be infinite"):
        fold_prior(nn.Linear(4, 2), [1.0, 0.0])
    with pytest.raises(ValueError, match="3 entries, but there are 2 classes"):
        fold_prior(nn.Linear(4, 2), [0.2, 0.3, 0.5])
    with pytest.raises(TypeError, match=r"must be an nn\.Linear, got NormalisedLinear"):
        unfold_prior(NormalisedLinear(4, 2), [0.5, 0.5])


# --- Class weights ----------------------------------------------------------------------------


def test_inverse_frequencies_have_mean_one_over_the_classes_that_occur():
    weights = balanced_class_weights([30, 10, 0])
    assert weights.dtype == torch.float32
    assert weights.tolist() == [0.5, 1.5, 0]
    torch.testing.assert_close(balanced_class_weights([3000, 1000, 0]), weights)


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

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_focus_it_is_pytorchs_weighted_cross_entropy(reduction):
    logits, targets, _ = case(20)
    found = focal_loss(logits, targets, gamma=0.0, class_weights=WEIGHTS, reduction=reduction)
    expected = F.cross_entropy(logits, targets, weight=WEIGHTS, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_of_two_classes_it_is_torchvisions_of_the_logit_difference(gamma):
    logits, targets, _ = case(21, classes=2)
    found = focal_loss(logits, targets, gamma=gamma, class_weights=[0.75, 0.25], reduction="none")
    theirs = sigmoid_focal_loss(
        logits[:, 1] - logits[:, 0], targets.double(), alpha=0.25, gamma=gamma
    )
    # Theirs subtracts p_t from one: the few digits of 1 - p_t that are lost at logits of 10.
    torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-14)


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


# --- LDAM -------------------------------------------------------------------------------------


def test_ldam_by_hand():
    """Counts 16 and 1: margins 0.5 / 16^(1/4) = 0.25 and 0.5. With scale 2 and f = (0.5, 0)
    label 0 has scores (0.5, 0), label 1 (1, -1).
    """
    logits = torch.tensor([[0.5, 0.0], [0.5, 0.0]], dtype=torch.float64)
    losses = ldam_loss(logits, torch.tensor([0, 1]), [16, 1], scale=2.0, reduction="none")
    expected = [math.log1p(math.exp(-0.5)), math.log1p(math.exp(2))]
    assert losses.tolist() == pytest.approx(expected, rel=1e-15)
    weighted = ldam_loss(
        logits, torch.tensor([0, 1]), [16, 1], scale=2.0, class_weights=[1.0, 3.0]
    )
    assert weighted.item() == pytest.approx((expected[0] + 3 * expected[1]) / 4, rel=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ldam_without_margins_is_pytorchs_weighted_cross_entropy_of_scaled_logits(reduction):
    logits, targets, counts = case(24)
    options = {"class_weights": WEIGHTS, "reduction": reduction, "scale": 3.0}
    found = ldam_loss(logits, targets, counts, max_margin=0.0, **options)
    expected = F.cross_entropy(3 * logits, targets, weight=WEIGHTS, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)


def test_ldam_is_the_authors_recipe():
    """Their code: margins n^(-1/4) scaled to a maximum, taken off where a one-hot mask says."""
    logits, targets, counts = case(25)
    margins = 1 / counts.sqrt().sqrt()
    margins = margins * (0.5 / margins.max())
    index = F.one_hot(targets, 5).bool()
    moved = torch.where(index, logits - margins[targets][:, None], logits)
    expected = F.cross_entropy(30 * moved, targets)
    torch.testing.assert_close(ldam_loss(logits, targets, counts), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(LDAMLoss(counts)(logits, targets), expected, rtol=1e-13, atol=0)


def test_gradients_of_ldam_are_the_derivative():
    logits, targets, counts = case(26, n=4, scale=0.3)
    logits.requires_grad_(True)

    def loss(f):
        return ldam_loss(f, targets, counts, scale=5.0, class_weights=WEIGHTS)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.usefixtures("no_shape_checks")
def test_a_class_without_samples_stays_among_the_rivals_but_is_no_target():
    logits, counts = torch.zeros(1, 3), [4, 1, 0]
    loss = LDAMLoss(counts, reweight_from=0)
    assert torch.isfinite(loss(logits, torch.tensor([1])))
    assert loss(logits, torch.tensor([1])).item() == pytest.approx(
        math.log1p(2 * math.exp(15)), rel=1e-6
    )
    for refuse in (loss, functools.partial(ldam_loss, class_counts=counts)):
        with pytest.raises(ValueError, match=r"classes without samples: \[2\]"):
            refuse(logits, torch.tensor([2]))


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_options_of_the_rivals_are_refused_with_what_came_in():
    logits, y = torch.zeros(1, 2), torch.tensor([0])
    for call, message in (
        (lambda: focal_loss(logits, y, gamma=-1.0), r"gamma must not be negative, got -1\.0"),
        (lambda: FocalLoss(-1.0), r"gamma must not be negative, got -1\.0"),
        (lambda: FocalLoss(reduction="avg"), "got 'avg'"),
        (lambda: ldam_loss(logits, y, [1, 1], max_margin=-1.0), "max_margin .* negative, got -1"),
        (lambda: ldam_loss(logits, y, [1, 1], scale=0.0), r"scale must be positive, got 0\.0"),
        (lambda: ldam_loss(logits, y, [1, 1, 1]), "3 entries, but there are 2 classes"),
        (lambda: LDAMLoss([1, 1], scale=0.0), r"scale must be positive, got 0\.0"),
        (lambda: LDAMLoss([1, 1], reweight_from=-1), "reweight_from must not be negative, got -1"),
        (lambda: LDAMLoss([1, 1, 1])(logits, y), r"3 classes, but logits have shape \(1, 2\)"),
        (lambda: FocalLoss(class_weights=[1.0])(logits, y), "made for 1 classes, but logits have"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- Deferred re-weighting --------------------------------------------------------------------


def test_class_weights_stay_out_until_their_epoch():
    logits, targets, counts = case(27)
    weights = balanced_class_weights(counts, beta=0.9999)
    loss = LDAMLoss(counts, reweight_from=2)
    plain, weighted = (
        ldam_loss(logits, targets, counts, class_weights=w) for w in (None, weights)
    )
    for epoch, expected in enumerate([plain, plain, weighted, weighted]):
        loss.set_epoch(epoch)
        assert loss(logits, targets).item() == expected.item()
    loss.set_epoch(0)
    assert loss(logits, targets).item() == plain.item()
    always = LDAMLoss(counts, class_weights=weights)
    assert always(logits, targets).item() == weighted.item()


def test_fit_tells_the_loss_its_epoch_before_the_first_batch():
    told = []

    class Loss(nn.Module):
        def set_epoch(self, epoch):
            told.append(epoch)

        def forward(self, logits, targets):
            told.append("batch")
            return F.cross_entropy(logits, targets)

    trained(Loss(), epochs=2)
    assert told == [0, *["batch"] * 6, 1, *["batch"] * 6]


def test_a_resumed_run_re_weights_as_one_that_was_not_interrupted(tmp_path):
    def run(epochs, **options):
        return trained(LDAMLoss(COUNTS, scale=5.0, reweight_from=1), epochs=epochs, **options)

    whole = run(4)
    run(2, checkpoint=tmp_path / "run.ckpt")
    assert same_weights(run(4, checkpoint=tmp_path / "run.ckpt"), whole)
    never = trained(LDAMLoss(COUNTS, scale=5.0), epochs=4)
    assert not same_weights(never, whole)


# --- Modules: dtypes, devices, compile --------------------------------------------------------

MODULES = {
    "focal": lambda counts: FocalLoss(class_weights=balanced_class_weights(counts)),
    "ldam": lambda counts: LDAMLoss(counts, reweight_from=0),
}
each_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


@each_module
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_logits_are_computed_in_float32_with_buffers_as_they_were(make, dtype):
    logits, targets, counts = case(30, scale=0.3)
    loss = make(counts)
    expected = loss(logits.to(dtype).float(), targets)
    before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    found = nn.ModuleList([loss]).to(dtype)[0](logits.to(dtype), targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert all(torch.equal(b, before[name]) for name, b in loss.named_buffers())


@each_module
def test_buffers_follow_to_a_device_and_through_the_state_dict(make):
    source, target = make([900, 90, 10]), make([1, 1, 1])
    assert list(source.parameters()) == []
    target.load_state_dict(source.state_dict())
    logits, targets, _ = case(31, classes=3, scale=0.3)
    assert torch.equal(target(logits, targets), source(logits, targets))
    assert all(b.device.type == "meta" for b in source.to("meta").buffers())


@pytest.mark.usefixtures("no_shape_checks")
@each_module
def test_module_compiles_into_one_graph_and_stays_compiled_over_many_epochs(make):
    logits, targets, counts = case(32, scale=0.3)
    module = make(counts)
    compiled = compiled_like_eager(lambda f: module(f, targets), logits)
    # Beyond the limit of recompilations, which is 8: an error under fullgraph.
    for epoch in range(12):
        if hasattr(module, "set_epoch"):
            module.set_epoch(epoch)
        compiled(logits)


@pytest.mark.usefixtures("no_shape_checks")
def test_soft_targets_and_the_functions_compile_into_one_graph():
    logits, targets, counts = case(33)
    prior, t = counts / counts.sum(), soft_targets()

    def losses(f):
        return torch.stack([
            pc_cross_entropy(f, t, prior, label_smoothing=0.1),
            logit_adjusted_cross_entropy(f, targets, prior, tau=0.5),
            balanced_softmax_cross_entropy(f, targets, counts),
            focal_loss(f, targets, class_weights=prior),
            ldam_loss(f, targets, counts, scale=3.0),
        ])  # fmt: skip

    compiled_like_eager(losses, logits, roundings=256)


@each_module
def test_under_autocast_the_loss_is_computed_in_float32(make):
    net, targets = nn.Linear(4, 3), torch.arange(8) % 3
    loss = make([5, 3, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(torch.randn(8, 4))
        value = loss(logits, targets)
    assert logits.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), targets))


def test_representations_say_what_the_losses_are():
    assert "gamma=2.0, weighted=False, reduction='mean'" in repr(FocalLoss())
    text = repr(LDAMLoss([9, 1], reweight_from=160))
    assert "classes=2, max_margin=0.5, scale=30.0, weighted=True, reweight_from=160" in text
    assert "in_features=4, out_features=3" in repr(NormalisedLinear(4, 3))


@pytest.mark.gpu
@each_module
def test_module_is_the_same_on_a_gpu_and_does_not_wait_for_it(make):
    logits, targets, counts = case(34, scale=0.3)
    loss = make(counts)
    here = loss(logits, targets)
    loss, on_device = loss.cuda(), (logits.cuda(), targets.cuda())
    torch.cuda.set_sync_debug_mode("error")  # a value check would copy to the host
    try:
        there = loss(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert there.item() == pytest.approx(here.item(), rel=1e-13)


# --- The normalised head ----------------------------------------------------------------------


def test_normalised_head_gives_cosines_whatever_the_lengths():
    head = NormalisedLinear(6, 4).double()
    z = torch.randn(3, 6, dtype=torch.float64)
    expected = torch.stack([F.cosine_similarity(z, w[None]) for w in head.weight], dim=1)
    torch.testing.assert_close(head(z), expected, rtol=0, atol=8 * EPS)
    with torch.no_grad():
        head.weight *= 7
    torch.testing.assert_close(head(100 * z), expected, rtol=0, atol=8 * EPS)
    assert head(torch.zeros(2, 6).double()).tolist() == [[0] * 4] * 2
    norms = NormalisedLinear(6, 4).weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4))


def test_normalised_head_survives_half_precision():
    head = NormalisedLinear(6, 4).half()
    assert torch.isfinite(head(torch.full((2, 6), 3e4, dtype=torch.float16))).all()
    assert head(torch.zeros(2, 6, dtype=torch.float16)).tolist() == [[0] * 4] * 2


# --- The page ---------------------------------------------------------------------------------


def test_every_recipe_of_the_page_runs_as_printed():
    """In order, with the names that the text takes for granted."""
    task = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.7, 0.2, 0.1])
    x, y = task.sample(96, torch.Generator().manual_seed(0))
    batches = DataLoader(TensorDataset(x, y), batch_size=32)
    names = {
        "model": Net(), "y_train": y, "train_loader": batches, "test_loader": batches, "epochs": 2
    }  # fmt: skip
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        assert len(block.splitlines()) <= 10
        before = copy.deepcopy(names["model"].state_dict())
        exec(compile(block, "book/imbalance.md", "exec"), names)
        if "step()" in block:
            after = names["model"].state_dict()
            assert not torch.equal(before["body.0.weight"], after["body.0.weight"].cpu())
    assert names["loss"].reweighting is False
    ones = torch.ones(96)
    torch.testing.assert_close(names["probabilities"].sum(1), ones, rtol=0, atol=8 * 2.0**-23)
    # Divided by the prior the posterior is balanced again.
    assert torch.equal((names["probabilities"] / names["prior"]).argmax(1), names["balanced"])
