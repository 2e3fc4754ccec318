"""One recipe for all losses: nothing from a test set, resumed to the bit, saved whole."""

import inspect
import json
from dataclasses import replace

import joblib
import pytest
import torch
from long_tail import data, tiny

from softmi.experiments import long_tailed_losses as chapter
from softmi.experiments.long_tailed_losses import SETTINGS, Settings, load_task, run, train_network
from softmi.experiments.long_tailed_recipes import RECIPES
from softmi.experiments.loss_table import LOSSES
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
