"""The cross-entropy in one buffer: layouts, underflow, derivatives, memory."""

import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import case, gradient, soft_targets
from slow_reference import EPS, log_ratio
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from softmi import PCSoftmaxLoss, logit_adjusted_cross_entropy, pc_cross_entropy
from softmi.losses._kernel import _label_losses

# PyTorch's forward-mode formulas are compiled on first use, in a way that warns.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

# --- One buffer, one exponential --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["rows", "columns", "every second", "one row", "one class"])
def test_loss_and_gradient_are_those_of_adding_the_prior_first_to_rounding(layout, dtype):
    wide = torch.randn(64, 46, dtype=dtype, generator=torch.Generator().manual_seed(3)) * 4
    logits = {
        "rows": wide, "columns": wide.T, "every second": wide[::2, ::2],
        "one row": wide[:1], "one class": wide[:, :1],
    }[layout]  # fmt: skip
    n, classes = logits.shape
    prior = torch.rand(classes, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    prior /= prior.sum()
    targets = torch.arange(n) % classes
    ours, plain = (logits.detach().clone(memory_format=torch.preserve_format) for _ in range(2))
    kept = ours.clone()
    ours.requires_grad_(), plain.requires_grad_()
    loss = logit_adjusted_cross_entropy(ours, targets, prior, reduction="none")
    expected = F.cross_entropy(plain + prior.log().to(dtype), targets, reduction="none")
    weights = torch.linspace(0.5, 2, n, dtype=dtype)
    (weights * loss).sum().backward()
    (weights * expected).sum().backward()
    # Logits of 16 and log-priors of 8 are rounded by half of 16 eps each before exp, which makes
    # that a relative error of the softmax; at the label one is subtracted.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(loss, expected, rtol=0, atol=64 * eps)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=64 * eps, atol=4 * eps)
    assert torch.equal(ours, kept)  # the user's logits are not the buffer


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", [1, 30])
def test_gradient_is_the_softmax_less_the_label_to_1e12(reduction, scale):
    logits, targets, counts = case(44, n=20, scale=scale)
    prior = counts / counts.sum()
    weights = torch.arange(1.0, 21, dtype=torch.float64)  # what comes from above, row by row

    def total(f):
        loss = pc_cross_entropy(f, targets, prior, reduction=reduction)
        return (weights * loss).sum() if reduction == "none" else loss

    ones = torch.ones_like(weights)
    outer = {"mean": ones / 20, "sum": ones, "none": weights}
    expected = torch.softmax(logits + prior.log(), 1)
    # One minus q_y as the sum of the other classes, which loses no digits.
    own = F.one_hot(targets, 5).bool()
    expected = expected.masked_fill(own, 0)
    expected = torch.where(own, -expected.sum(1, keepdim=True), expected)
    expected = expected * outer[reduction][:, None]
    # q - 1 is rounded to the spacing of float64 below one.
    torch.testing.assert_close(gradient(total, logits), expected, rtol=1e-12, atol=20 * 2 * EPS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.9, 1.1, 2.0])
def test_a_loss_is_exact_on_both_sides_of_where_its_probability_leaves_the_numbers(dtype, scale):
    """Below exp(-87) in float32, and exp(-708) in float64, a softmax has no logarithm."""
    gap = -scale * math.log(torch.finfo(dtype).tiny)
    logits = torch.tensor([[gap, 0.0, -3.0], [0.0, gap, 1.0], [1.0, 0.0, 0.0]], dtype=dtype)
    prior = [0.25, 0.5, 0.25]
    losses = pc_cross_entropy(logits, torch.tensor([1, 1, 1]), prior, reduction="none")
    rows = [log_ratio(row.double(), torch.tensor(prior).double())[1] for row in logits]
    expected = torch.tensor([-float(r) for r in rows], dtype=dtype)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(losses, expected, rtol=2 * eps, atol=4 * eps)
    slope = gradient(lambda f: pc_cross_entropy(f, torch.tensor([1, 1, 1]), prior), logits)
    torch.testing.assert_close(slope[0], torch.tensor([1.0, -1, 0], dtype=dtype) / 3)


def test_the_backward_pass_can_be_repeated_while_its_graph_is_kept():
    logits, targets, counts = case(45)
    leaf = logits.requires_grad_(True)
    loss = pc_cross_entropy(leaf, targets, counts / counts.sum())
    first, second = (torch.autograd.grad(loss, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_of_single_samples_by_vmap_are_those_of_one_at_a_time():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    targets, prior = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()

    def loss(row, target):
        return _label_losses(row[None], prior.log(), target[None])[0]

    found = torch.func.vmap(torch.func.grad(loss))(logits, targets)
    expected = torch.softmax(logits + prior.log(), 1) - F.one_hot(targets, 4)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)
    # Through a batch of losses, and over priors with the logits shared.
    total = torch.func.grad(lambda f: torch.func.vmap(loss)(f, targets).sum())(logits)
    torch.testing.assert_close(total, expected, rtol=1e-13, atol=1e-15)
    priors = torch.stack([prior, prior.flip(0)]).log()
    over = torch.func.vmap(lambda b: _label_losses(logits, b, targets))(priors)
    each = torch.stack([_label_losses(logits, b, targets) for b in priors])
    torch.testing.assert_close(over, each, rtol=1e-13, atol=1e-15)


def losses_of(targets, prior, **options):
    """Ours, and PyTorch's on logits to which the log-prior is added first."""

    def ours(f):
        return logit_adjusted_cross_entropy(f, targets, prior, **options)

    def pytorchs(f):
        return F.cross_entropy(f + prior.log(), targets, **options)

    return ours, pytorchs


@pytest.mark.parametrize("kind", ["labels", "soft", "smoothed"])
@pytest.mark.parametrize(
    "derivative",
    [jacfwd, jacrev, hessian, lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacfwd(f))],
    ids=["jacfwd", "jacrev", "hessian", "forwards twice", "backwards over forwards"],
)
def test_derivatives_by_torch_func_are_pytorchs(derivative, kind):
    logits, labels, counts = case(47, n=4, classes=3)
    targets = soft_targets(4, 3) if kind == "soft" else labels
    ours, pytorchs = losses_of(
        targets, counts / counts.sum(), label_smoothing=0.1 if kind == "smoothed" else 0.0
    )
    found, expected = derivative(ours)(logits), derivative(pytorchs)(logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=16 * EPS)
    assert expected.abs().max() > 1e-3


def test_directional_derivatives_are_pytorchs_by_logits_and_by_the_prior():
    logits, targets, counts = case(48)
    prior, direction = counts / counts.sum(), soft_targets() - 0.2
    ours, pytorchs = losses_of(targets, prior, reduction="none")
    expected = jvp(pytorchs, (logits,), (direction,))
    torch.testing.assert_close(jvp(ours, (logits,), (direction,)), expected, rtol=0, atol=64 * EPS)
    with dual_level():
        dual = unpack_dual(ours(make_dual(logits, direction)))
    torch.testing.assert_close(tuple(dual), expected, rtol=0, atol=64 * EPS)

    def of_prior(loss):
        return jacfwd(lambda scores: loss(scores.softmax(0)))(prior)

    found = of_prior(lambda pi: logit_adjusted_cross_entropy(logits, targets, pi))
    by_prior = of_prior(lambda pi: F.cross_entropy(logits + pi.log(), targets))
    torch.testing.assert_close(found, by_prior, rtol=0, atol=64 * EPS)


def test_vmap_runs_over_samples_labels_and_priors():
    logits, targets, counts = case(49)
    prior = counts / counts.sum()
    single = pc_cross_entropy(logits, targets, prior, reduction="none")
    rows = vmap(lambda f, y: pc_cross_entropy(f[None], y[None], prior))(logits, targets)
    torch.testing.assert_close(rows, single, rtol=0, atol=64 * EPS)
    labels = torch.stack([targets, targets.flip(0)])
    found = vmap(lambda y: pc_cross_entropy(logits, y, prior))(labels)
    each = torch.stack([pc_cross_entropy(logits, y, prior) for y in labels])
    torch.testing.assert_close(found, each, rtol=0, atol=64 * EPS)
    priors = torch.stack([prior, prior.flip(0)])
    found = vmap(lambda pi: pc_cross_entropy(logits, targets, pi))(priors)
    each = torch.stack([pc_cross_entropy(logits, targets, pi) for pi in priors])
    torch.testing.assert_close(found, each, rtol=0, atol=64 * EPS)


def test_values_are_checked_under_a_gradient_and_not_under_vmap():
    logits, targets, prior = torch.zeros(2, 2), torch.tensor([0, 1]), [0.5, 0.5]
    bad = logits.masked_fill(F.one_hot(targets).bool(), math.nan)
    with pytest.raises(ValueError, match=r"2 of 4 entries are NaN"):
        grad(lambda f: pc_cross_entropy(f, targets, prior))(bad)
    found = vmap(lambda f, y: pc_cross_entropy(f[None], y[None], prior))(bad, targets)
    assert found.isnan().all()  # as from PyTorch's own


def test_jacobian_and_hessian_of_the_losses_are_the_closed_forms():
    logits, targets, counts = case(46, n=3, classes=4)
    prior = counts / counts.sum()

    def losses(f):
        return pc_cross_entropy(f, targets, prior, reduction="none")

    q = torch.softmax(logits + prior.log(), 1)
    jacobian = torch.diag_embed((q - F.one_hot(targets, 4)).T).permute(1, 2, 0)
    found = torch.func.jacrev(losses)(logits)
    torch.testing.assert_close(found, jacobian, rtol=0, atol=16 * EPS)
    # The second derivative of a row, diag(q) - q q^T, does not know the label.
    hessian = torch.autograd.functional.hessian(lambda f: losses(f)[1], logits)[1, :, 1]
    expected = torch.diag(q[1]) - torch.outer(q[1], q[1])
    torch.testing.assert_close(hessian, expected, rtol=0, atol=16 * EPS)


def test_a_prior_that_is_trained_gets_its_gradient():
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    offset = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64, requires_grad=True)
    targets = torch.arange(5) % 3
    assert torch.autograd.gradcheck(lambda b: _label_losses(logits, b, targets), offset)


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
