"""One recipe for all losses: nothing from a test set, resumed to the bit, saved whole."""

import gzip
import inspect
import json
from dataclasses import replace

import joblib
import pytest
import torch
from long_tail import data, tiny
from picture_sets import cub_files, write_folder

from softmi.datasets import CUB, sha256
from softmi.experiments import long_tailed_losses as chapter
from softmi.experiments.long_tailed_losses import SETTINGS, Settings, load_task, run, train_network
from softmi.experiments.long_tailed_recipes import RECIPES
from softmi.experiments.loss_table import LOSSES
from softmi.models import Backbone
from softmi.training import CropsAndFlips


@pytest.fixture(autouse=True)
def as_before():
    """Training seeds the global generator and takes one thread: put both back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


# --- Nothing is chosen on a test set ----------------------------------------------------------


def test_training_never_sees_the_labels_of_a_test():
    parameters = inspect.signature(train_network).parameters
    assert list(parameters) == [
        "recipe", "loss", "seed", "train", "tests", "device", "checkpoint"
    ]  # fmt: skip
    assert parameters["tests"].annotation == chapter.Mapping[str, torch.Tensor]  # inputs alone


@pytest.mark.parametrize("loss", [*LOSSES, "tau=0.5"])
def test_the_network_does_not_depend_on_the_test(loss):
    x, y = data()
    probe, other = data(1)[0], data(2)[0]
    alone = train_network(tiny(), loss, 0, (x, y), {"probe": probe}, device="cpu")
    among = train_network(tiny(), loss, 0, (x, y), {"other": other, "probe": probe}, device="cpu")
    assert torch.equal(alone["logits"]["probe"], among["logits"]["probe"])
    assert alone["losses"] == among["losses"]
    assert len(alone["losses"]) == tiny().epochs  # the last epoch, whatever the others were


def test_logits_of_ldam_are_cosines_times_thirty():
    logits = train_network(tiny(), "LDAM-DRW", 0, data(), {"probe": data(1)[0]}, device="cpu")
    assert 1 < logits["logits"]["probe"].abs().max() <= 30 + 1e-4


# --- Runs that are cut short ------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["PC-softmax", "LDAM-DRW"])
def test_a_run_that_is_cut_short_goes_on_to_the_same_network(loss, tmp_path, monkeypatch):
    """With augmentation, batch norm and a schedule; cut as the re-weighting begins."""
    recipe = tiny(network="GAPNet-4", augment=True, warm_up=0.2, drops=(0.8,))
    y = data()[1]
    images = torch.randint(0, 256, (75, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    train, tests = (images.to(torch.uint8), y), {"probe": images[:9].to(torch.uint8)}
    whole = train_network(recipe, loss, 3, train, tests, device="cpu")

    class Cut(CropsAndFlips):
        batches = 0

        def __getitems__(self, indices):
            Cut.batches += 1
            if Cut.batches > 5 * recipe.reweight_epoch:  # five batches an epoch
                raise KeyboardInterrupt
            return super().__getitems__(indices)

    path = tmp_path / "unit.ckpt"
    arguments = (recipe, loss, 3, train, tests)
    monkeypatch.setattr(chapter, "CropsAndFlips", Cut)
    with pytest.raises(KeyboardInterrupt):
        train_network(*arguments, device="cpu", checkpoint=path)
    assert path.exists()
    monkeypatch.undo()
    resumed = train_network(*arguments, device="cpu", checkpoint=path)
    assert resumed["losses"] == whole["losses"]
    assert torch.equal(resumed["logits"]["probe"], whole["logits"]["probe"])
    assert resumed["seconds"] > 0


# --- The run of a profile ---------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Two seeds of one epoch, in a project of its own."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setitem(RECIPES, "digits", replace(RECIPES["digits"], epochs=1))
    for profile in ("smoke", "full"):
        monkeypatch.setitem(SETTINGS, profile, Settings(("digits",), seeds=2))
    with joblib.parallel_config(backend="sequential"):
        yield tmp_path


def test_a_profile_is_trained_measured_and_saved(quick):
    values = run("smoke", seed=5, taus=[0.5])
    record = json.loads((quick / "results/smoke/06_long_tailed_losses_digits.json").read_text())
    assert record["provenance"]["seeds"] == [5, 6]
    assert record["protocol"]["epochs"] == 1
    assert set(record["values"]["official"]["accuracy"]) == {*LOSSES, "tau=0.5"}
    assert list(record["values"]["official"]["curves"]["tau"]["trained"]) == ["0", "1", "0_5"]
    assert values["digits"]["pictures"]["train"] == record["values"]["pictures"]["train"]
    assert not (quick / "_build").exists()  # nothing is kept of a smoke run


def test_networks_of_a_full_run_are_kept_and_not_trained_again(quick, monkeypatch):
    first = run("full")
    kept = sorted((quick / "_build/full/06_long_tailed_losses").glob("*.pt"))
    assert len(kept) == 2 * len(LOSSES)
    trained = []
    real = chapter.train_network

    def watched(recipe, loss, *rest, **options):
        trained.append(loss)
        return real(recipe, loss, *rest, **options)

    monkeypatch.setattr(chapter, "code_digest", lambda _, make: _digest(real, make))
    monkeypatch.setattr(chapter, "train_network", watched)
    assert run("full")["digits"]["official"]["accuracy"] == first["digits"]["official"]["accuracy"]
    assert not trained
    # Another number in one loss: its networks are trained again, those of the others are not.
    monkeypatch.setattr("softmi.experiments.loss_table.GAMMA", 1.0)
    run("full")
    assert trained == ["focal", "focal"]


def _digest(*parts):
    from softmi.evidence.units import code_digest

    return code_digest(*parts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "fast"}, r"profile must be one of \['full', 'smoke'\], got 'fast'"),
        ({"data": "letters"}, "no data 'letters'; there are digits, mnist, cifar10lt and cub50"),
    ],
)
def test_unknown_profiles_and_data_are_refused(arguments, message, quick, no_shape_checks):
    with pytest.raises(ValueError, match=message):
        run(**arguments)


def part(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator).to(torch.uint8)
    return images, torch.arange(count) % 10


def test_of_mnist_all_parts_but_the_train_part_are_tests(monkeypatch):
    parts = {name: part(20, seed) for seed, name in enumerate(("train", "authors", "official"))}
    monkeypatch.setattr(chapter, "mnist_task", lambda: dict(parts))
    train, tests = load_task("mnist")
    assert train is parts["train"]
    assert tests == {name: parts[name] for name in ("authors", "official")}


def test_the_long_tail_of_cifar_is_tested_on_the_whole_test_set(monkeypatch):
    tail, whole = part(30, 0), {"test": part(20, 1)}
    monkeypatch.setattr(chapter, "cifar10_long_tailed", lambda: tail)
    monkeypatch.setattr(chapter, "cifar10", whole.__getitem__)
    assert load_task("cifar10lt") == (tail, {"official": whole["test"]})


class Colours(torch.nn.Module):
    """Two cells of the mean colours; counts the images that went through."""

    seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return torch.nn.functional.adaptive_avg_pool2d(images, (1, 2))


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """Two species of forty one-coloured images, whose red is their number; half are for tests."""
    write_folder(cub_files(2, 40, sizes=True), tmp_path / "data" / "CUB_200_2011")
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SOFTMI_CACHE", str(tmp_path / "cache"))
    module = Colours()
    monkeypatch.setattr(chapter, "CUB", lambda: CUB(size=8))
    monkeypatch.setattr(chapter, "mobilenet_v2_features", lambda: Backbone(module, "w", "0"))
    return module


@pytest.mark.usefixtures("no_shape_checks")  # CUB has what a Dataset needs and is none
def test_birds_are_pooled_features_cut_as_the_authors_do_and_computed_once(birds):
    (x, y), tests = load_task("cub50")
    found = {"train": (x, y), **tests}
    assert list(tests) == ["authors", "official"]
    # Images 1, 3, ... train, 2, 4, ... test; species 1 is images 1 to 40, species 2 the rest.
    expected = {
        "train": [*range(1, 20, 2), *range(41, 81, 2)],  # ten of the first, all of the second
        "authors": [*range(2, 11, 2), *range(42, 71, 2)],  # five, and fifteen
        "official": range(2, 81, 2),
    }
    for name, numbers in expected.items():
        pooled, labels = found[name]
        assert pooled.shape == (len(numbers), 3)
        assert (255 * pooled[:, 0]).round().int().tolist() == list(numbers)
        assert labels.tolist() == [int(number > 40) for number in numbers]
    assert birds.seen == 80
    again = load_task("cub50")
    assert birds.seen == 80
    assert torch.equal(again[0][0], x)


def test_checksums_of_a_result_change_with_its_data(birds, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("b.gz", "a.gz"):
        (raw / name).write_bytes(gzip.compress(name.encode()))
    (raw / "a").write_bytes(b"unpacked by another program")
    nothing = (part(1, 0), {"official": part(1, 1)})
    before = chapter.checksums("mnist", nothing)
    assert before == {name: sha256(raw / name) for name in ("a.gz", "b.gz")}
    (raw / "b.gz").write_bytes(gzip.compress(b"c"))
    after = chapter.checksums("mnist", nothing)
    assert (after["a.gz"] == before["a.gz"], after["b.gz"] == before["b.gz"]) == (True, False)

    before = chapter.checksums("cub50", nothing)
    assert before == CUB(size=8).checksums
    assert list(before) == ["CUB_200_2011"]
    image = next((tmp_path / "data" / "CUB_200_2011" / "images").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"x")
    assert chapter.checksums("cub50", nothing) != before

    assert chapter.checksums("digits", nothing) == {}


def test_the_long_tail_of_cifar_is_known_by_its_pictures_and_labels():
    (images, labels), test = part(30, 0), part(20, 1)

    def sums(pictures, answers):
        return chapter.checksums("cifar10lt", ((pictures, answers), {"official": test}))

    before = sums(images, labels)
    assert list(before) == ["long tail", "test"]
    assert before == sums(images.clone(), labels.clone())
    other, swapped = images.clone(), labels.clone()
    other[3, 0, 0, 0] ^= 1
    swapped[:2] = labels[:2].flip(0)
    for changed in (sums(other, labels), sums(images, swapped)):
        assert changed["long tail"] != before["long tail"]
        assert changed["test"] == before["test"]


def test_the_live_tail_is_twelve_to_one():
    (images, labels), tests = load_task("digits")
    counts = torch.bincount(labels)
    assert images.shape[1:] == (1, 16, 16)
    assert (int(counts[0]), int(counts[-1])) == (60, 5)
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    assert list(tests) == ["official"]


def test_the_full_profile_covers_the_data_of_the_claims():
    assert SETTINGS["full"].data == ("mnist", "cifar10lt", "cub50")
    assert SETTINGS["full"].seeds == 5
