"""Networks read where the truth is known: what is trained, what is read, what is summarised."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from softmi import PCSoftmaxLoss, entropy
from softmi.evidence.results import load_result
from softmi.evidence.statistics import interval
from softmi.experiments import mi_on_synthetic_data as chapter
from softmi.experiments import mi_on_synthetic_data_figures as show
from softmi.experiments import mi_on_synthetic_data_mine as mine
from softmi.experiments import mi_on_synthetic_data_networks as networks
from softmi.experiments import mi_on_synthetic_data_released as released
from softmi.experiments.mi_on_synthetic_data import SETTINGS, check_readings, check_released
from softmi.experiments.mi_on_synthetic_data_networks import (
    DIMENSIONS,
    METHODS,
    READINGS,
    TASKS,
    Settings,
    class_counts,
    read,
    truth_of,
)
from softmi.experiments.mi_on_synthetic_data_summary import (
    at_paper_size,
    summarise_bound,
    summarise_comparison,
    worst,
)
from softmi.models import MLP

TINY = Settings(
    dimensions=DIMENSIONS, seeds=2, train=20, batch=100, epochs=1, fresh=200, tests=2, memorise=2,
    permuted=("imbalanced_d1", "imbalanced_d10"), allowance=0.01, released_fresh=200,
    released_tests=2,
)  # fmt: skip


# Of the smoke profile, with a dimension more: two of few, and one of many.
SMOKE = replace(SETTINGS["smoke"], dimensions=(1, 2, 5))


@pytest.fixture(autouse=True)
def global_generator():
    """Training seeds the global generator: put it back."""
    with torch.random.fork_rng():
        yield


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Networks with the names of the authors' twelve."""
    folder = tmp_path / "authors_mi_checkpoints"
    folder.mkdir()
    for name in released.FILES.values():
        for d in DIMENSIONS:
            torch.save(MLP(d, 5).state_dict(), folder / name.format(d=d))
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    return folder


@pytest.fixture(scope="module")
def archived() -> dict:
    return load_result(chapter.NAME)


@pytest.fixture
def full(archived) -> dict:
    return copy.deepcopy(archived["values"])


class Knows(nn.Module):
    """A network that has nothing to learn: the true likelihoods, times the prior or not."""

    def __init__(self, task, *, corrected: bool) -> None:
        super().__init__()
        self.fc1, self.task, self.corrected = nn.Linear(1, 1), task, corrected

    def forward(self, x):
        scores = self.task.log_likelihoods(x)
        return scores if self.corrected else scores + self.task.prior.log()


# --- Tasks and readings -----------------------------------------------------------------------


def test_tasks_are_the_eight_of_the_paper_with_its_counts():
    assert list(TASKS) == [f"{k}_d{d}" for k in ("balanced", "imbalanced") for d in DIMENSIONS]
    assert class_counts("balanced_d2", 5_000) == [10_000] * 5
    assert class_counts("imbalanced_d2", 5_000) == [5_000, 10_000, 15_000, 20_000, 25_000]
    assert sum(class_counts("balanced_d1", 1_000)) == 10_000
    assert sum(class_counts("imbalanced_d1", 1_000)) == 15_000


def test_truths_are_those_of_the_archived_run(full):
    for name, task in full["tasks"].items():
        assert truth_of(name) == pytest.approx(task["truth"], abs=1e-9)


def test_over_count_is_the_distance_of_the_two_constants():
    assert networks.over_count("balanced_d5") == pytest.approx(0, abs=1e-12)
    h = -sum(k / 15 * math.log(k / 15) for k in range(1, 6))
    assert networks.over_count("imbalanced_d5") == pytest.approx(math.log(5) - h)


def test_losses_are_what_their_names_say():
    task = TASKS["imbalanced_d1"]
    assert networks.loss_of("softmax", task) is nn.functional.cross_entropy
    loss = networks.loss_of("pc_softmax", task)
    assert isinstance(loss, PCSoftmaxLoss)
    torch.testing.assert_close(loss.prior.double(), task.prior)


def test_gradients_agree_for_balanced_classes_only(monkeypatch):
    assert networks.gradient_difference(0) < 1e-15
    original = networks.pc_cross_entropy
    skewed = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]).double()
    monkeypatch.setattr(networks, "pc_cross_entropy", lambda f, y, _: original(f, y, skewed))
    assert networks.gradient_difference(0) > 1e-5


@pytest.mark.parametrize("corrected", [True, False])
def test_a_network_that_knows_reads_the_exact_value(corrected, no_shape_checks):
    task = TASKS["imbalanced_d2"]
    points = task.sample(4_000, torch.Generator().manual_seed(0))
    found = read(Knows(task, corrected=corrected), task, points, corrected=corrected)
    assert found["value"] == pytest.approx(found["exact"], abs=1e-6)
    assert found["shortfall"] == pytest.approx(0, abs=1e-6)
    assert abs(found["value"] - truth_of("imbalanced_d2")) < 4 * found["standard_error"]
    pointwise = task.prior.log()[points[1]] + math.log(5)
    assert found["log_m"] - found["value"] == pytest.approx(float(pointwise.mean()))


def test_shortfall_is_exact_minus_value():
    task = TASKS["balanced_d1"]
    points = task.sample(500, torch.Generator().manual_seed(0))
    found = read(MLP(1, 5), task, points, corrected=False)
    assert found["shortfall"] == pytest.approx(found["exact"] - found["value"])
    assert found["shortfall"] > 0
    assert found["shortfall_error"] > 0


# --- What is trained --------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch) -> list:
    """The losses that `run_task` trains with, and the first weights of each network."""
    calls, original = [], networks.train

    def noted(x, y, loss, seed, **options):
        model, history = original(x, y, loss, seed, **options)
        calls.append((loss, seed, history.losses))
        return model, history

    monkeypatch.setattr(networks, "train", noted)
    return calls


def test_a_balanced_task_has_one_network_trained_with_plain_softmax(trained):
    out = networks.run_task("balanced_d1", 3, TINY, "cpu")
    assert [loss for loss, *_ in trained] == [nn.functional.cross_entropy]
    assert out["softmax"]["value"] == pytest.approx(out["pc_softmax"]["value"], abs=1e-9)
    assert {len(out[method]["tests"]) for method in METHODS} == {TINY.tests}


def test_an_imbalanced_task_has_a_network_for_each_method(trained):
    networks.run_task("imbalanced_d1", 3, TINY, "cpu")
    (plain, first, _), (corrected, second, _) = trained
    assert plain is nn.functional.cross_entropy
    assert isinstance(corrected, PCSoftmaxLoss)
    assert first == second == 3  # the same first weights and order of batches


def test_a_run_follows_its_seed_and_nothing_else():
    first, again, other = (networks.run_task("imbalanced_d2", s, TINY, "cpu") for s in (0, 0, 1))
    assert first == again
    assert first["pc_softmax"]["value"] != other["pc_softmax"]["value"]


def test_training_sets_have_their_labels_shuffled(monkeypatch):
    task, seen = TASKS["imbalanced_d10"], []
    original = networks.train

    def noted(x, y, *args, **options):
        seen.append(float((task.log_likelihoods(x).argmax(1) == y).double().mean()))
        return original(x, y, *args, **options)

    monkeypatch.setattr(networks, "train", noted)
    networks.run_permuted("imbalanced_d10", 0, TINY, "cpu")
    networks.run_memorise(0, TINY, "cpu")
    assert len(seen) == 3
    assert max(seen) < 0.5  # these classes can be told apart almost surely
    networks.run_task("imbalanced_d10", 0, TINY, "cpu")
    assert min(seen[3:]) > 0.99


def test_learning_by_heart_is_watched_at_the_epochs_that_the_figure_shows():
    found = networks.run_memorise(0, replace(TINY, memorise=12), "cpu")
    assert {len(curve) for curve in found.values()} == {4}  # epochs 1, 2, 5 and 10


def test_few_points_are_learnt_by_heart():
    found = networks.run_memorise(0, replace(TINY, memorise=150), "cpu")
    assert found["in_sample"][-1] > 1  # the truth is zero
    assert found["held_out"][-1] < -1


# --- MINE -------------------------------------------------------------------------------------


def test_mine_has_the_points_first_weights_and_steps_of_the_classifier(trained, monkeypatch):
    monkeypatch.setattr(mine, "train", networks.train)  # the one that takes notes
    seen, original = [], networks.draw_task
    for module in (networks, mine):
        monkeypatch.setattr(module, "draw_task", lambda *a: seen.append(original(*a)) or seen[-1])
    networks.run_task("imbalanced_d1", 3, TINY, "cpu")
    found = mine.run_mine("imbalanced_d1", 3, TINY, "cpu")
    ours, theirs = seen
    assert all(map(torch.equal, ours.train, theirs.train))
    assert all(map(torch.equal, ours.fresh, theirs.fresh))
    (_, first, losses), _, (loss, second, bounds) = trained
    assert loss is mine.minus_bound
    assert first == second == 3
    assert len(losses) == len(bounds)
    assert math.isfinite(found["value"])


def test_mine_learns_what_the_classifier_learns_from_enough_points():
    """At d = 1, to 0.03 nats: 5,000 points and 200 steps leave a few thousandths."""
    settings = replace(TINY, train=500, batch=500, epochs=20, fresh=20_000)
    found = mine.run_mine("balanced_d1", 0, settings, "auto")  # as the chapter calls it
    assert abs(found["error"]) < 0.03
    assert found["value"] - found["error"] == pytest.approx(truth_of("balanced_d1"), abs=0.03)


def test_minus_the_bound_is_minimal_at_the_log_ratio():
    task = TASKS["imbalanced_d2"]
    x, y = task.sample(4_000, torch.Generator().manual_seed(0))
    exact = task.pointwise_mutual_information(x)
    value = -float(mine.minus_bound(exact, y))
    assert value == pytest.approx(truth_of("imbalanced_d2"), abs=0.05)  # four standard errors
    assert -float(mine.minus_bound(0.7 * exact, y)) < value
    assert -float(mine.minus_bound(exact + 5, y)) == pytest.approx(value)


# --- The authors' networks --------------------------------------------------------------------


def test_gradients_that_are_never_cleared_pile_up():
    weight = nn.Parameter(torch.zeros(1))
    for adam, expected in ((torch.optim.Adam, 1.0), (released.NeverCleared, 3.0)):
        optimiser, weight.grad = adam([weight]), None
        for _ in range(3):
            optimiser.zero_grad()
            weight.sum().backward()
        assert float(weight.grad) == expected


def test_there_are_twelve_files_of_which_a_missing_one_is_named(files):
    assert len(released.released_files()) == 12
    assert [m for m, *_ in released.released_networks("balanced_d1")] == ["softmax"]
    assert [m for m, *_ in released.released_networks("imbalanced_d1")] == list(METHODS)
    gone = files / "balanced_dataset_class_net_best_lat_5.ckpt"
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=gone.name):
        released.released_files()


@pytest.mark.parametrize("corrected", [True, False])
def test_the_floor_raises_small_outputs(corrected, no_shape_checks):
    task = TASKS["imbalanced_d1"]
    x, y = task.sample(200, torch.Generator().manual_seed(0))
    scores = task.log_likelihoods(x) + (0 if corrected else task.prior.log())
    outputs = scores.softmax(1)
    if corrected:
        outputs = scores.exp() / (task.prior * scores.exp()).sum(1, keepdim=True)
    chosen = outputs[range(200), y]
    by_hand = float(((chosen + 1e-6).log() - chosen.log()).mean())
    network = Knows(task, corrected=corrected)
    found = released.floor_effect(network, task, (x, y), corrected=corrected)
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert found > 0


def test_the_archived_run_read_the_files_that_are_named(archived):
    names = {name.format(d=d) for name in released.FILES.values() for d in DIMENSIONS}
    assert set(archived["provenance"]["data"]) == names


# --- Summaries --------------------------------------------------------------------------------


def test_worst_is_the_largest_in_size():
    errors = {"a": {"mean": 0.1}, "b": {"mean": -0.3}, "c": {"mean": 0.2}}
    assert worst(errors) == {"mean": -0.3, "task": "b"}


def test_spread_over_test_sets_is_within_seeds():
    """Two networks that differ by much, each without spread over its test sets."""
    tests = [[{"value": v, "exact": v + 0.5}] * 3 for v in (1.0, 2.0)]
    found = at_paper_size(tests)
    assert found["estimate"]["mean"] == 1.5
    assert found["difference"]["values"] == [-0.5, -0.5]
    assert found["sd_over_test_sets"] == {"estimate": 0, "exact": 0, "difference": 0}
    tests = [[{"value": v, "exact": 0.0} for v in (1.0, 3.0)]] * 2
    assert at_paper_size(tests)["sd_over_test_sets"]["estimate"] == pytest.approx(math.sqrt(2))


def unit(shortfall: float = 0.001) -> dict:
    """One seed of a good run of the smoke profile, by hand."""
    settings = SMOKE

    def reading(name, short=shortfall):
        value = truth_of(name) - short
        return {"value": value, "standard_error": 0.001, "exact": truth_of(name),
                "shortfall": short, "shortfall_error": 0.0005,
                "log_m": value + networks.over_count(name)}  # fmt: skip

    zero = {"value": -0.001, "standard_error": 0.001, "log_m": 0.118}
    return {
        "tasks": {name: {m: reading(name) for m in METHODS} for name in settings.names},
        "permuted": {
            name: {m: {"held_out": dict(zero), "in_sample": dict(zero)} for m in METHODS}
            for name in settings.permuted
        },
        "memorise": {"in_sample": [0.0, 1.4], "held_out": [0.0, -3.0]},
    }


def test_comparison_by_hand():
    settings = SMOKE
    two = summarise_comparison([unit(0.001), unit(0.003)], settings)
    assert two["pc_softmax"]["values"] == pytest.approx([0.001, 0.003])
    assert two["entropy_minus_pc"]["mean"] == pytest.approx(0, abs=1e-12)
    excess = networks.over_count("imbalanced_d1")
    assert two["softmax_log_m"]["mean"] == pytest.approx(excess - 0.002)
    assert {"low", "high"} < set(two["log_m_minus_pc"])
    assert "low" not in summarise_comparison([unit()], settings)["log_m_minus_pc"]


def test_bound_counts_networks_and_takes_the_closest():
    first, second = unit(0.004), unit(0.002)
    second["tasks"]["balanced_d2"]["softmax"]["shortfall"] = 0.0005
    found = summarise_bound([first, second])
    assert found["networks"] == 2 * (3 + 2 * 3)
    assert found["largest_excess"] == -0.0005
    excess = found["largest_excess_in_standard_errors"]
    assert excess["mean"] == pytest.approx(-1)
    assert excess["of"] == found["networks"]  # that of a balanced task once, not twice
    assert excess["high"] == pytest.approx(-1 + 1.96, abs=1e-3)
    assert excess["low"] == pytest.approx(-1 - 2.99, abs=0.01)  # .025 / 18 of a normal is below


def test_mine_is_compared_by_the_size_of_errors_in_each_group_of_tasks():
    settings, units = SMOKE, [unit(0.001), unit(0.002)]
    off = {1: 0.0005, 2: -0.0005, 5: -0.009}
    for one in units:
        one["mine"] = {
            n: {"value": truth_of(n) + e, "error": e}
            for n in settings.names
            for e in [off[int(n.split("_d")[1])]]
        }
    found = mine.summarise_mine(units, settings)
    assert found["few_dimensions"]["values"] == pytest.approx([-0.0005, -0.0015])
    assert found["more_dimensions"]["values"] == pytest.approx([0.008, 0.007])
    both = [(2 * a + b) / 3 for a, b in ((-0.0005, 0.008), (-0.0015, 0.007))]
    assert found["all"]["values"] == pytest.approx(both)
    assert {"low", "high"} < set(found["all"])
    assert found["pc_softmax"]["balanced_d1"]["values"] == pytest.approx([-0.001, -0.002])
    assert "low" not in mine.summarise_mine(units[:1], settings)["all"]


def test_errors_of_mine_stand_beside_those_of_the_classifier(full):
    errors = {name: {"mean": -0.002, "sd": 0.0001} for name in full["tasks"]}
    difference = {"mean": 0.0015, "low": 0.001, "high": 0.002}
    found = {"mine": errors, "pc_softmax": errors} | dict.fromkeys(
        ("all", "few_dimensions", "more_dimensions"), difference
    )
    table = show.against_mine_table(full | {"against_mine": found}).splitlines()
    assert len(table) == 2 + 8 + 3
    assert "-0.0020 ± 0.0001 | -0.0020 ± 0.0001" in table[2]
    assert "0.0015 [0.0010, 0.0020]" in table[-1]


def falsified() -> dict:
    """For each thing that a run has to show, a change that breaks it."""

    def change(*path, by):
        def spoil(found):
            for key in path[:-1]:
                found = found[key]
            found[path[-1]] += by

        return spoil

    imbalanced = ("tasks", "imbalanced_d1", "softmax")
    held_out = ("permuted", "imbalanced_d1", "pc_softmax", "held_out")
    return {
        "nats off": change("tasks", "balanced_d5", "softmax", "value", by=-0.04),
        "short by": change("tasks", "imbalanced_d5", "pc_softmax", "shortfall", by=0.025),
        "short by -": change("tasks", "imbalanced_d5", "pc_softmax", "shortfall", by=-0.0035),
        "log M only": change(*imbalanced, "log_m", by=-0.117),
        "one network": change("tasks", "balanced_d1", "softmax", "value", by=1e-8),
        "in shuffled labels": change(*held_out, "value", by=0.006),
        "reads -0.0": change(*held_out, "value", by=-0.03),
        "log M reads nothing": change(
            "permuted", "imbalanced_d1", "softmax", "held_out", "log_m", by=-0.08
        ),
        "by heart: {'in": change("memorise", "in_sample", -1, by=-1),
        "by heart: ": change("memorise", "held_out", -1, by=2.5),
    }


def test_a_good_run_passes():
    check_readings([unit(), unit()], SMOKE)


@pytest.mark.parametrize("message", list(falsified()))
def test_a_run_that_does_not_show_it_is_stopped(message):
    spoilt = unit()
    falsified()[message](spoilt)
    with pytest.raises(AssertionError, match=message):
        check_readings([unit(), spoilt], SMOKE)


def test_another_reading_of_the_released_networks_is_stopped(full):
    check_released(full)
    deviation = full["released_summary"]["largest_deviation_from_earlier"]
    assert released.largest_deviation(full["released"]) == pytest.approx(deviation)
    full["released"]["balanced_d5"]["softmax_entropy"]["estimate"]["mean"] += 0.01
    full["released_summary"] |= {
        "largest_deviation_from_earlier": released.largest_deviation(full["released"])
    }
    with pytest.raises(AssertionError, match="apart from before"):
        check_released(full)


# --- The run ----------------------------------------------------------------------------------


def keys(node: object) -> object:
    """The keys of a result, without the repeated values of its statistics."""
    if isinstance(node, dict):
        return {key: keys(value) for key, value in node.items() if key != "values"}
    return None


def test_a_full_run_has_every_key_of_the_archived_one_and_keeps_its_units(
    archived, files, monkeypatch, tmp_path
):
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setattr(chapter, "SETTINGS", {"full": TINY})
    checked = []
    for name in ("check_readings", "check_released"):  # networks that know nothing
        monkeypatch.setattr(chapter, name, lambda *_, name=name: checked.append(name))
    returned = chapter.run("full", seed=5, device="cpu")
    assert checked == ["check_readings", "check_released"]
    saved = load_result(chapter.NAME)
    assert keys(saved["values"]) == keys(archived["values"])
    assert keys(saved["protocol"]) == keys(archived["protocol"])
    assert set(saved["provenance"]["data"]) == set(archived["provenance"]["data"])
    assert saved["provenance"]["seeds"] == [5, 6]
    assert keys(returned) == keys(saved["values"])
    folder = tmp_path / "_build" / "full" / chapter.NAME
    units = {path.name.split("-")[0]: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(units) == {"seed_5", "seed_6", "released"}
    assert keys(chapter.run("full", seed=5, device="cpu")) == keys(returned)
    again = {path.name.split("-")[0]: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert again == units
    assert load_result(chapter.NAME)["values"] == saved["values"]


def test_a_smoke_run_trains_every_seed_each_time_and_needs_no_files_of_the_authors(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path / "nowhere"))
    alone = replace(TINY, released_fresh=0)
    monkeypatch.setattr(chapter, "SETTINGS", {"smoke": alone})
    trained, judged = [], []

    def run_seed(seed, settings, device):
        trained.append((seed, device))
        return {"seed": seed, "seconds": 1.5}

    monkeypatch.setattr(chapter, "run_seed", run_seed)
    monkeypatch.setattr(chapter, "check_readings", lambda units, _: judged.append(list(units)))
    for name in ("summarise_units", "summarise_mine"):
        monkeypatch.setattr(
            chapter, name, lambda units, *_: {"of": [unit["seed"] for unit in units]}
        )
    values = chapter.run("smoke", seed=5, device="cpu")
    assert values == {"of": [5, 6], "against_mine": {"of": [5, 6]}}
    chapter.run("smoke", seed=5, device="cpu")
    assert trained == 2 * [(5, "cpu"), (6, "cpu")]
    assert [[unit["seed"] for unit in units] for units in judged] == 2 * [[5, 6]]
    saved = load_result(chapter.NAME, "smoke")
    assert saved["values"] == values
    found = saved["provenance"]
    assert (found["seeds"], found["seconds"], found["data"]) == ([5, 6], 3.0, {})
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_archived_run_is_that_of_the_full_settings(archived):
    assert chapter.protocol_of(SETTINGS["full"]) == archived["protocol"]
    settings, values = SETTINGS["full"], archived["values"]
    assert list(values["tasks"]) == settings.names
    assert list(values["permuted"]) == list(settings.permuted)
    assert values["memorise"]["epochs"] == list(networks.WATCHED)
    assert values["released_summary"]["samples"] == settings.released_fresh
    assert values["released_summary"]["test_sets"] == settings.released_tests
    assert archived["provenance"]["seeds"] == list(range(settings.seeds))


def test_the_full_run_says_at_once_that_it_needs_the_authors_files(monkeypatch, tmp_path):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="authors_mi_checkpoints"):
        chapter.run("full")


# --- What the text of the chapter says of the archived run ------------------------------------


def test_log_m_lies_above_the_truth_and_in_many_dimensions_above_the_ceiling(full):
    for d in DIMENSIONS:
        task = full["tasks"][f"imbalanced_d{d}"]
        over = task["softmax_log_m"]["estimate"]["mean"]
        assert over > task["truth"] + 0.1
        assert (over > task["label_entropy"]) == (d in (5, 10))


def test_the_worst_error_is_a_network_of_plain_softmax_and_pc_softmax_is_at_half_of_it(full):
    errors = {name: task["pc_softmax"]["error"] for name, task in full["tasks"].items()}
    assert worst(errors)["task"] == "balanced_d10"
    assert full["worst_error"]["pc_softmax"] == full["worst_error"]["softmax_entropy"]
    own = worst({name: e for name, e in errors.items() if name.startswith("imbalanced")})
    assert own["task"] == "imbalanced_d10"  # book/prose_numbers.yml takes its number from there
    assert abs(own["mean"]) < abs(errors["balanced_d10"]["mean"]) / 2  # the ledger's reason


def test_every_shortfall_is_positive(full):
    assert interval(full["lower_bound"]["largest_excess_in_standard_errors"])[1] < 0


def test_released_networks_fall_short_and_two_errors_cancel(full):
    for d in DIMENSIONS:
        task = full["released"][f"imbalanced_d{d}"]
        pc, plain, wrong = (task[key]["error"]["mean"] for key in show.LOOKS)
        assert max(pc, plain) < 0
        assert (wrong > 0) == (d <= 2)
        assert (plain > pc) == (d == 1)
        assert d <= 2 or abs(wrong) < abs(pc)
        assert task["never_cleared"]["error"]["mean"] < pc < 0


def test_five_epochs_close_more_than_half_of_each_gap(full):
    found = [task[key] for task in full["released"].values() for key in READINGS if key in task]
    assert len(found) == 12
    for network in found:
        after, before = network["error_after_five_epochs"]["mean"], network["error"]["mean"]
        assert abs(after) < 0.5 * abs(before)


# --- Tables and figures -----------------------------------------------------------------------

TABLES = [show.live_table, show.readings_table, show.bound_table, show.paper_size_table,
          show.released_table, show.two_errors_table, show.continued_table,
          show.never_cleared_table, show.permuted_table]  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.__name__)
def test_a_table_shows_the_numbers_of_its_result(table, full):
    def shifted(node):
        if isinstance(node, dict):
            return {key: shifted(value) for key, value in node.items()}
        return node if isinstance(node, list | str) or node is None else node + 1

    shown, other = table(full).splitlines(), table(shifted(full)).splitlines()
    assert len({line.count("|") for line in shown}) == 1
    assert len(shown) > 3
    assert all(a != b for a, b in zip(shown[2:], other[2:], strict=True))


def test_the_table_of_truths_ends_in_both_ceilings():
    balanced, imbalanced = show.truth_table().splitlines()[2:]
    assert balanced.endswith("| 1.6094 | 1.6094 |")
    assert imbalanced.endswith(f"| {float(entropy(TASKS['imbalanced_d1'].prior)):.4f} | 1.6094 |")
    assert f"{truth_of('imbalanced_d10'):.4f}" in imbalanced


def test_the_table_of_the_setting_says_how_many_files(archived):
    assert "12 files" in show.setting_table(archived)


@pytest.mark.parametrize("draw", [show.draw_readings, show.draw_shortfalls, show.draw_memorise])
def test_figures_draw_what_the_result_says(draw, full):
    drawn = [line.get_ydata() for axes in draw(full).axes for line in axes.get_lines()]
    tasks, theirs = full["tasks"], full["released"]
    expected = {
        "draw_readings": [theirs["imbalanced_d10"]["pc_softmax"]["estimate"]["mean"]],
        "draw_shortfalls": [
            tasks["balanced_d10"]["softmax_entropy"]["shortfall"]["mean"],
            -theirs["imbalanced_d5"]["pc_softmax"]["error"]["mean"],
        ],
        "draw_memorise": full["memorise"]["held_out"]["curve"],
    }[draw.__name__]
    points = np.concatenate([np.atleast_1d(ys) for ys in drawn])
    assert all(np.isclose(points, value).any() for value in expected)
