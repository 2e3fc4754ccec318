"""One recipe for all losses: numbers from papers, nothing from a test set, resumed to the bit."""

import inspect

import pytest
import torch
from torch import nn

from softmi import LDAMLoss, NormalisedLinear, PCSoftmaxLoss
from softmi.experiments import long_tails as longtail
from softmi.experiments.long_tails import (
    LOSSES,
    RECIPES,
    Recipe,
    carried_prior,
    loss_of,
    network_of,
)
from softmi.training import CropsAndFlips

COUNTS = torch.tensor([50, 20, 5])


@pytest.fixture(autouse=True)
def global_generator():
    """Training seeds the global generator: put it back."""
    with torch.random.fork_rng():
        yield


def tiny(**options) -> Recipe:
    numbers = {"epochs": 5, "batch_size": 16, "rate": 0.05, "momentum": 0.9, "weight_decay": 0.0}
    return Recipe("tiny", source="this test", **{"network": "linear"} | numbers | options)


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.repeat_interleave(torch.arange(3), COUNTS)
    noise = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(seed))
    return noise + torch.eye(3, 4)[y], y


# --- Nothing is chosen on a test set ----------------------------------------------------------


def test_training_never_sees_the_labels_of_a_test():
    parameters = inspect.signature(longtail.train_network).parameters
    assert list(parameters) == [
        "recipe", "loss", "seed", "train", "tests", "device", "checkpoint"
    ]  # fmt: skip
    assert parameters["tests"].annotation == longtail.Mapping[str, torch.Tensor]  # inputs alone


@pytest.mark.parametrize("loss", [*LOSSES, "tau=0.5"])
def test_the_network_does_not_depend_on_the_test(loss):
    x, y = data()
    probe, other = data(1)[0], data(2)[0]
    alone = longtail.train_network(tiny(), loss, 0, (x, y), {"probe": probe}, device="cpu")
    among = longtail.train_network(
        tiny(), loss, 0, (x, y), {"other": other, "probe": probe}, device="cpu"
    )
    assert torch.equal(alone["logits"]["probe"], among["logits"]["probe"])
    assert alone["losses"] == among["losses"]
    assert len(alone["losses"]) == tiny().epochs  # the last epoch, whatever the others were


def test_numbers_of_the_recipes_are_those_of_their_sources():
    """Who tunes one of them has to come here, and to say where the new one is from."""
    fields = ("epochs", "batch_size", "rate", "momentum", "weight_decay", "warm_up", "drops",
              "factor", "augment", "reweight_epoch")  # fmt: skip
    found = {key: tuple(getattr(r, f) for f in fields) for key, r in RECIPES.items()}
    ldam = (128, 0.1, 0.9, 2e-4, 0.025, (0.8, 0.9), 0.01, True)
    assert found == {
        "digits": (30, 32, 0.005, 0.9, 0.0, 0.2, (), 0.1, False, 24),
        "mnist": (8, 64, 0.01, 0.5, 0.0, 0.0, (), 0.1, False, 6),
        "cifar10lt": (10, *ldam, 8),
        "cifar10lt_gpu": (200, *ldam, 160),
        "cifar10lt_published": (200, *ldam, 160),
        "cub50": (176, 64, 0.01, 0.9, 4e-5, 0.0, (1 / 3, 2 / 3), 0.1, False, 141),
    }
    assert (longtail.GAMMA, longtail.BETA, longtail.MARGIN, longtail.SCALE) == (2, 0.9999, 0.5, 30)
    assert all(r.source for r in RECIPES.values())
    gpu = RECIPES["cifar10lt_gpu"]
    assert [round(s * gpu.epochs) for s in (gpu.warm_up, *gpu.drops)] == [5, 160, 180]


# --- Networks and losses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "augment"),
    [
        ("LeNet", (1, 16, 16), False),
        ("GAPNet-4", (3, 8, 8), False),
        ("GAPNet-4", (3, 8, 8), True),
        ("ResNet-8", (3, 8, 8), False),
        ("ResNet-8", (3, 8, 8), True),
        ("linear on MobileNetV2", (5,), False),
    ],
)
def test_the_last_layer_is_normalised_for_ldam(name, shape, augment):
    x = torch.rand(2, *shape)
    recipe = tiny(network=name, augment=augment)
    for normalised in (False, True):
        model = network_of(recipe, x, 7, normalised=normalised).eval()
        out = model(x)
        logits = out[0] if isinstance(out, tuple) else out
        assert logits.shape == (2, 7)
        last = [m for m in model.modules() if isinstance(m, nn.Linear | NormalisedLinear)][-1]
        assert isinstance(last, NormalisedLinear) == normalised
        if normalised:
            assert logits.abs().max() <= 1 + 1e-6


def test_losses_are_what_their_names_say():
    logits, y = torch.randn(75, 3), data()[1]
    plain = nn.functional.cross_entropy(logits, y)
    assert torch.equal(loss_of("softmax", COUNTS, tiny())(logits, y), plain)
    balanced = nn.functional.cross_entropy(logits + COUNTS.log(), y)
    own = nn.functional.cross_entropy(COUNTS.log().expand(75, 3), y)  # no network in it
    pc = loss_of("PC-softmax", COUNTS, tiny())
    assert isinstance(pc, PCSoftmaxLoss)
    assert pc(logits, y).item() == pytest.approx((balanced - own).item(), abs=1e-5)
    assert loss_of("tau=0", COUNTS, tiny())(logits, y).item() == pytest.approx(plain.item())
    assert loss_of("tau=1", COUNTS, tiny())(logits, y).item() == pytest.approx(
        pc(logits, y).item()
    )
    ldam = loss_of("LDAM-DRW", COUNTS, tiny(epochs=10))
    assert isinstance(ldam, LDAMLoss)
    assert (ldam.reweight_from, ldam.scale) == (8, 30.0)
    with pytest.raises(ValueError, match="no loss 'hinge'; there are softmax"):
        loss_of("hinge", COUNTS, tiny())


@pytest.mark.parametrize("loss", ["softmax", "class-weighted", "PC-softmax", "tau=0.5", "tau=2"])
def test_logits_carry_the_prior_that_theory_says(loss):
    """Inputs that say nothing leave in the logits what they carry, and that alone."""
    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")
    function, y = loss_of(loss, COUNTS, tiny()), data()[1]

    def closure():
        optimiser.zero_grad()
        value = function(logits.expand(75, 3), y)
        value.backward()
        return value

    for _ in range(3):
        optimiser.step(closure)
    carried = carried_prior(loss, COUNTS)
    expected = torch.full((3,), 1 / 3) if carried is None else carried.float()
    torch.testing.assert_close(logits.detach().softmax(0), expected, rtol=0, atol=2e-3)


def test_carried_priors_are_distributions():
    for loss in (*LOSSES, "tau=0.5", "tau=2"):
        carried = carried_prior(loss, COUNTS)
        assert carried is None or float(carried.sum()) == pytest.approx(1)
    torch.testing.assert_close(carried_prior("focal", COUNTS), carried_prior("softmax", COUNTS))


# --- Runs that are cut short ------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["PC-softmax", "LDAM-DRW"])
def test_a_run_that_is_cut_short_goes_on_to_the_same_network(loss, tmp_path, monkeypatch):
    """With augmentation, batch norm and a schedule; cut as the re-weighting begins."""
    recipe = tiny(network="GAPNet-4", augment=True, warm_up=0.2, drops=(0.8,))
    y = data()[1]
    images = torch.randint(0, 256, (75, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    train, tests = (images.to(torch.uint8), y), {"probe": images[:9].to(torch.uint8)}
    whole = longtail.train_network(recipe, loss, 3, train, tests, device="cpu")

    class Cut(CropsAndFlips):
        batches = 0

        def __getitems__(self, indices):
            Cut.batches += 1
            if Cut.batches > 5 * recipe.reweight_epoch:  # five batches an epoch
                raise KeyboardInterrupt
            return super().__getitems__(indices)

    path = tmp_path / "unit.ckpt"
    arguments = (recipe, loss, 3, train, tests)
    monkeypatch.setattr(longtail, "CropsAndFlips", Cut)
    with pytest.raises(KeyboardInterrupt):
        longtail.train_network(*arguments, device="cpu", checkpoint=path)
    assert path.exists()
    monkeypatch.undo()
    resumed = longtail.train_network(*arguments, device="cpu", checkpoint=path)
    assert resumed["losses"] == whole["losses"]
    assert torch.equal(resumed["logits"]["probe"], whole["logits"]["probe"])
    assert resumed["seconds"] > 0
