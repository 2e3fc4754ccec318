"""Fine-tuned backbones: the authors' numbers, no test image read, resumed to the bit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from softmi.experiments import fine_tuning
from softmi.experiments.fine_tuning import (
    RECIPES,
    RandomCrops,
    fine_tune,
    network_of,
    parameter_groups,
)
from softmi.maps import ActivationMaps
from softmi.models import AttentionDropout


@pytest.fixture(autouse=True)
def global_generator():
    """Training seeds the global generator: put it back."""
    with torch.random.fork_rng():
        yield


class TinyCUB(fine_tuning.CUB):
    """Six training images of three classes, and test images that must not be read."""

    def __init__(self, size: int = 40) -> None:
        self.size = size
        self.targets = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
        self.is_train = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0]).bool()
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        self.read.append(index)
        image = torch.full((3, self.size, self.size), 0.2)
        image[int(self.targets[index])] = index / 10 + 0.1
        return image, int(self.targets[index])


def tiny_network(classes: int, adl: bool, **_) -> nn.Module:
    """In place of the real ones: batch norm, ADL, a trunk and a head of the same names."""
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    if adl:
        features.append(AttentionDropout(0.5))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    return nn.Sequential(features, head)


def tiny(name: str = "vgg16_gap", **options):
    small = {"resize": 40, "crop": 32, "epochs": 2, "batch_size": 3, "weights": None}
    return replace(RECIPES[name], **small | options)


# --- Numbers ------------------------------------------------------------------------------------


def test_numbers_of_the_recipes_are_those_of_the_authors():
    """Who tunes one of them has to come here, and to say where the new one is from."""
    own = ("adl", "threshold", "batch_size", "rate", "head")
    found = {name: tuple(getattr(recipe, f) for f in own) for name, recipe in RECIPES.items()}
    assert found == {
        "vgg16_gap": (False, 0.8, 30, 0.001, ("conv6.", "fc.")),
        "vgg16_gap_adl": (True, 0.8, 30, 0.001, ("conv6.", "fc.")),
        "resnet50_wsol": (False, 0.9, 128, 0.01, ("layer4.", "fc.")),
        "resnet50_wsol_adl": (True, 0.9, 128, 0.01, ("layer4.", "fc.")),
    }
    shared = ("drop_rate", "head_factor", "weights", "epochs", "decay_every", "decay", "momentum",
              "weight_decay", "resize", "crop")  # fmt: skip
    for name, recipe in RECIPES.items():
        assert name.startswith(recipe.network)
        assert recipe.source
        assert tuple(getattr(recipe, f) for f in shared) == (
            0.75, 10.0, "IMAGENET1K_V1", 200, 60, 0.1, 0.9, 1e-4, 256, 224
        )  # fmt: skip


@pytest.mark.parametrize("name", ["vgg16_gap_adl", "resnet50_wsol_adl"])
def test_the_head_learns_ten_times_as_fast_and_each_weight_is_in_one_group(name):
    recipe = RECIPES[name]
    model = network_of(recipe, 5, pretrained=False)
    trunk, head = parameter_groups(recipe, model)
    assert (trunk["lr"], head["lr"]) == (recipe.rate, 10 * recipe.rate)
    names = {id(p): n for n, p in model.named_parameters()}
    inside = {names[id(p)].split(".")[1] for p in head["params"]}
    outside = {names[id(p)].split(".")[1] for p in trunk["params"]}
    if recipe.network == "vgg16_gap":
        assert (inside, outside) == ({"conv6", "fc"}, {"features"})
    else:
        assert inside == {"layer4", "fc"}
        assert outside == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert len(trunk["params"]) + len(head["params"]) == len(names)
    places = [m for m in model.modules() if isinstance(m, AttentionDropout)]
    assert {(m.drop_rate, m.threshold) for m in places} == {(0.75, recipe.threshold)}


def test_the_rate_falls_by_ten_every_so_many_epochs(monkeypatch):
    rates = []

    def spy(model, dataset, loss, *, epochs, batch_size, optimizer, scheduler, **_):
        optimiser = optimizer(list(model.parameters()))
        schedule = scheduler(optimiser)
        for _ in range(epochs):
            rates.append(tuple(group["lr"] for group in optimiser.param_groups))
            for _ in range(-(-len(dataset) // batch_size)):
                optimiser.step()
                schedule.step()
        assert optimiser.defaults["nesterov"]
        assert optimiser.defaults["momentum"] == 0.9
        assert {group["weight_decay"] for group in optimiser.param_groups} == {1e-4}
        return SimpleNamespace(losses=[], records=[])

    monkeypatch.setattr(fine_tuning, "fit", spy)
    monkeypatch.setattr(fine_tuning, "vgg16_gap", tiny_network)
    fine_tune(tiny(epochs=5, decay_every=2, head=("1.",)), TinyCUB(), device="cpu")
    base = torch.tensor([[1, 10]] * 2 + [[0.1, 1]] * 2 + [[0.01, 0.1]])
    torch.testing.assert_close(torch.tensor(rates), 0.001 * base)


# --- Crops --------------------------------------------------------------------------------------


def test_crops_are_windows_of_the_image_mirrored_half_of_the_time():
    images = torch.arange(3 * 5 * 6).view(1, 3, 5, 6).to(torch.uint8)
    crops = RandomCrops(images, torch.tensor([4]), 4)
    windows = {
        (top, left, mirrored): (w.flip(2) if mirrored else w)
        for top in range(2)
        for left in range(3)
        for mirrored in (False, True)
        for w in [images[0, :, top : top + 4, left : left + 4]]
    }
    torch.manual_seed(0)
    batch, targets = crops.__getitems__([0] * 1200)
    assert batch.shape == (1200, 3, 4, 4)
    assert (targets == 4).all()
    counts = dict.fromkeys(windows, 0)
    for one in (batch * 255).round().to(torch.uint8):
        counts[next(key for key, w in windows.items() if torch.equal(w, one))] += 1
    # 1,200 draws of 12 equal windows: 100 each, five standard errors of a binomial.
    assert all(abs(n - 100) < 5 * (1200 / 12 * 11 / 12) ** 0.5 for n in counts.values())


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("size", [0, 7])
def test_crops_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match=rf"crops of {size} x {size} do not fit .*\(1, 3, 6, 8\)"):
        RandomCrops(torch.zeros(1, 3, 6, 8, dtype=torch.uint8), torch.tensor([0]), size)


# --- Runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16_gap_adl", "resnet50_wsol_adl"])
def test_two_steps_of_each_network_and_its_maps_from_what_is_kept(name):
    cub, recipe = TinyCUB(), tiny(name, epochs=1)
    result = fine_tune(recipe, cub, device="cpu")
    assert set(cub.read) == {0, 1, 3, 4, 5, 6}  # the training part, no test image
    assert result["classes"] == 3
    assert len(result["losses"]) == 1
    assert result["seconds"] > 0
    model = network_of(recipe, 3, pretrained=False)
    model.load_state_dict(result["weights"])
    with ActivationMaps(model.eval()) as look:
        seen = look(torch.rand(2, 3, 32, 32))
    assert seen.maps(contrast="mean").shape == (2, 2, 2)


def test_a_run_that_is_cut_short_goes_on_to_the_same_network(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "vgg16_gap", tiny_network)
    recipe = tiny("vgg16_gap_adl", epochs=4, decay_every=1, head=("1.",), rate=0.1)
    whole = fine_tune(recipe, TinyCUB(), 3, device="cpu")

    class Cut(RandomCrops):
        batches = 0

        def __getitems__(self, indices):
            Cut.batches += 1
            if Cut.batches > 5:  # two batches an epoch: in the third
                raise KeyboardInterrupt
            return super().__getitems__(indices)

    path = tmp_path / "unit.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "RandomCrops", Cut)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(recipe, TinyCUB(), 3, device="cpu", checkpoint=path)
    assert path.exists()
    resumed = fine_tune(recipe, TinyCUB(), 3, device="cpu", checkpoint=path)
    assert resumed["losses"] == whole["losses"]
    assert len(resumed["losses"]) == 4
    assert resumed["seconds"] > 0
    for key, value in whole["weights"].items():
        assert torch.equal(resumed["weights"][key], value), key


def test_the_seed_decides_the_run(monkeypatch):
    monkeypatch.setattr(fine_tuning, "vgg16_gap", tiny_network)
    recipe = tiny(head=("1.",))
    runs = [fine_tune(recipe, TinyCUB(), seed, device="cpu")["losses"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_input_is_refused_with_what_came_in():
    with pytest.raises(ValueError, match=r"resizes to 256, .* come at 40: CUB\(size=256\)"):
        fine_tune(RECIPES["vgg16_gap"], TinyCUB(), device="cpu")
    with pytest.raises(ValueError, match="no network 'alexnet'; there are vgg16_gap, resnet50"):
        network_of(replace(RECIPES["vgg16_gap"], network="alexnet"), 3)
    nothing = TinyCUB()
    nothing.is_train[:] = False
    with pytest.raises(ValueError, match="0 samples"):
        fine_tune(tiny(network="vgg16_gap"), nothing, device="cpu")
