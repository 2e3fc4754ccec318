"""What all losses share: ruled-out classes, options, dtypes, devices, compile, processes."""

import functools
import inspect
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiling import compiled_like_eager
from loss_cases import case, gradient, soft_targets
from processes import two_processes
from slow_reference import EPS
from torch import nn
from torch.func import grad, jacfwd, jacrev, vmap

import softmi.losses
from softmi import (
    FocalLoss,
    LDAMLoss,
    NormalisedLinear,
    PCSoftmaxLoss,
    balanced_class_weights,
    balanced_softmax_cross_entropy,
    focal_loss,
    ldam_loss,
    logit_adjusted_cross_entropy,
    pc_cross_entropy,
)
from softmi.losses._base import _Loss

# PyTorch's forward-mode formulas are compiled on first use, in a way that warns.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

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


# --- Options ----------------------------------------------------------------------------------


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
        (lambda: FocalLoss(class_weights=[1.0])(logits, y), "1 entries, but there are 2 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- Modules: dtypes, devices, compile, processes ---------------------------------------------


def as_it_comes(loss):
    """Make a loss with its options left alone: from class counts if it takes them."""
    counted = "class_counts" in inspect.signature(loss).parameters
    return lambda counts: loss(class_counts=counts) if counted else loss()


# Every loss that the package exports, so that a new one has all of these tests; then with options.
EXPORTED = {name: getattr(softmi.losses, name) for name in softmi.losses.__all__}
MODULES = {
    name: as_it_comes(loss)
    for name, loss in EXPORTED.items()
    if inspect.isclass(loss) and issubclass(loss, _Loss)
} | {
    "PC-softmax, smoothed": lambda counts: PCSoftmaxLoss(class_counts=counts, label_smoothing=0.1),
    "focal, weighted": lambda counts: FocalLoss(class_weights=balanced_class_weights(counts)),
    "LDAM-DRW": lambda counts: LDAMLoss(counts, reweight_from=0),
}


# Modules of the package that are no losses, each with what it is.
NO_LOSS = {"NormalisedLinear": "a last layer"}


@pytest.mark.parametrize("name", [n for n, t in EXPORTED.items() if inspect.isclass(t)])
def test_a_module_of_a_loss_has_all_these_tests(name):
    loss = EXPORTED[name]
    if issubclass(loss, nn.Module) and not issubclass(loss, _Loss) and name not in NO_LOSS:
        told = (f"derive {name} from `_Loss` of softmi/losses/_base.py, also if it has no "
                "buffers: the tests that all losses share look for that")  # fmt: skip
        pytest.fail(told, pytrace=False)


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
    value.backward()
    assert net.weight.grad.dtype == torch.float32


def test_representations_say_what_the_losses_are():
    assert "gamma=2.0, weighted=False, reduction='mean'" in repr(FocalLoss())
    text = repr(LDAMLoss([9, 1], reweight_from=160))
    assert "classes=2, max_margin=0.5, scale=30.0, weighted=True, reweight_from=160" in text
    assert "in_features=4, out_features=3" in repr(NormalisedLinear(4, 3))


@each_module
def test_gradients_of_single_samples_by_vmap_are_those_of_one_at_a_time(make):
    logits, targets, counts = case(35, scale=0.3)
    loss = make(counts)
    found = vmap(grad(lambda row, y: loss(row[None], y[None])))(logits, targets)
    each = [
        gradient(lambda f, y=y: loss(f, y[None]), row[None])
        for row, y in zip(logits, targets, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(each), rtol=1e-13, atol=4 * EPS)


@each_module
@pytest.mark.parametrize("outer", [jacfwd, jacrev])
@pytest.mark.parametrize("inner", [jacfwd, jacrev])
def test_second_derivatives_are_there_forwards_and_backwards(make, outer, inner):
    logits, targets, counts = case(36, n=3, classes=4, scale=0.3)
    loss = make(counts)
    expected = torch.autograd.functional.hessian(lambda f: loss(f, targets), logits)
    found = outer(inner(lambda f: loss(f, targets)))(logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=30 * 64 * EPS)  # LDAM's scale


@pytest.mark.gpu
@each_module
def test_module_is_the_same_on_a_gpu_and_does_not_wait_for_it(make):
    logits, targets, counts = case(34, scale=0.3)
    loss = make(counts)
    here = loss(logits, targets)
    loss, on_device = loss.cuda().half(), (logits.cuda(), targets.cuda())
    assert all(buffer.device.type == "cuda" for buffer in loss.buffers())
    torch.cuda.set_sync_debug_mode("error")  # a value check would copy to the host
    try:
        there = loss(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert there.item() == pytest.approx(here.item(), rel=1e-13)


TWO_PROCESSES = """
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from softmi import LDAMLoss, LocalizationAccuracy, MaxBoxAccuracy, PCSoftmaxLoss


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3).double()
        # The second process starts with another prior: buffers are taken from the first.
        counts = [70, 20, 10] if rank == 0 else [1, 1, 1]
        self.losses = nn.ModuleList([PCSoftmaxLoss(class_counts=counts), LDAMLoss(counts)])
    def forward(self, x, y):
        logits = self.linear(x)
        return sum(loss(logits, y) for loss in self.losses)

half = slice(4 * rank, 4 * rank + 4)
net = Net()
net.linear.load_state_dict(data["linear"])
wrapped = DistributedDataParallel(net)
wrapped(data["x"][half], data["y"][half]).backward()

boxes = MaxBoxAccuracy((0.3, 0.5), thresholds=10)
# Parts of different length: a mean of means would be off.
part = slice(0, 5) if rank == 0 else slice(5, 8)
boxes.update(data["maps"][part], data["boxes"][part])
top1 = LocalizationAccuracy()
top1.update(data["found"][part], data["predicted"][part], data["y"][part], data["boxes"][part])
result = {
    "gradient": net.linear.weight.grad.tolist(),
    "max_box_accuracy": boxes.compute().tolist(),
    "top1": top1.compute().item(),
}
"""


@pytest.mark.slow
def test_two_processes_give_the_gradient_and_the_metrics_of_one(tmp_path: Path):
    from softmi import LocalizationAccuracy, MaxBoxAccuracy

    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(4, 3).double()
    corner = torch.randint(0, 12, (8, 2), generator=generator)
    data = {
        "linear": linear.state_dict(),
        "x": torch.randn(8, 4, generator=generator, dtype=torch.float64),
        "y": torch.arange(8) % 3,
        "maps": torch.rand(8, 24, 24, generator=generator),
        "boxes": torch.cat([corner, corner + 12], dim=1),
        "found": torch.cat([corner, corner + 13], dim=1),
        "predicted": torch.tensor([0, 1, 2, 0, 1, 0, 0, 0]),
    }
    found = two_processes(TWO_PROCESSES, data, tmp_path)

    for loss in (PCSoftmaxLoss(class_counts=[70, 20, 10]), LDAMLoss([70, 20, 10])):
        loss(linear(data["x"]), data["y"]).backward()
    boxes = MaxBoxAccuracy((0.3, 0.5), thresholds=10)
    boxes.update(data["maps"], data["boxes"])
    top1 = LocalizationAccuracy()
    top1.update(data["found"], data["predicted"], data["y"], data["boxes"])
    assert 0 < top1.compute().item() < 1
    for result in found:
        shared = torch.tensor(result["gradient"], dtype=torch.float64)
        # Logits times a scale of 30 round accordingly.
        torch.testing.assert_close(shared, linear.weight.grad, rtol=0, atol=30 * 16 * EPS)
        assert result["max_box_accuracy"] == boxes.compute().tolist()
        assert result["top1"] == top1.compute().item()
