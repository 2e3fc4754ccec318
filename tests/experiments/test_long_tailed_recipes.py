"""One recipe for all losses of a data set: numbers from papers, and networks that fit them."""

import pytest
import torch
from long_tail import tiny
from torch import nn

from softmi import NormalisedLinear
from softmi.experiments.long_tailed_recipes import RECIPES, network_of


def test_numbers_of_the_recipes_are_those_of_their_sources():
    """Who tunes one of them has to come here, and to say where the new one is from."""
    fields = ("epochs", "batch_size", "rate", "momentum", "weight_decay", "warm_up", "drops",
              "factor", "augment", "reweight_epoch")  # fmt: skip
    found = {key: tuple(getattr(r, f) for f in fields) for key, r in RECIPES.items()}
    ldam = (128, 0.1, 0.9, 2e-4, 0.025, (0.8, 0.9), 0.01, True)
    assert found == {
        "digits": (18, 32, 0.005, 0.9, 0.0, 0.2, (), 0.1, False, 14),
        "mnist": (8, 64, 0.01, 0.5, 0.0, 0.0, (), 0.1, False, 6),
        "cifar10lt": (10, *ldam, 8),
        "cifar10lt_published": (200, *ldam, 160),
        "cub50": (176, 64, 0.01, 0.9, 4e-5, 0.0, (1 / 3, 2 / 3), 0.1, False, 141),
    }
    assert all(r.source for r in RECIPES.values())
    long = RECIPES["cifar10lt_published"]
    assert [round(s * long.epochs) for s in (long.warm_up, *long.drops)] == [5, 160, 180]
    precisions = {key: r.precision for key, r in RECIPES.items()}
    assert precisions.pop("cifar10lt_published") == "bf16-mixed"
    assert set(precisions.values()) == {"32-true"}


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
