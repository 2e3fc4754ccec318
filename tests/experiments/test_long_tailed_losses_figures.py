"""Tables and figures of chapter 06 show what a result holds, and name what it does not hold."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

from softmi.evidence.figures import colour, use_style
from softmi.evidence.results import load_result, save_result
from softmi.experiments import long_tailed_losses_figures as show
from softmi.experiments.loss_table import LOSSES, LossRow


@pytest.fixture(scope="module")
def archive():
    return show.archived()


@pytest.fixture
def cifar(archive):
    return archive["cifar10lt"]["values"]["official"]


@pytest.fixture(autouse=True)
def closed():
    with matplotlib.rc_context():
        use_style()
        yield
    plt.close("all")


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def written(found, loss, rule="as_trained") -> str:
    """Class mean in per cent, mean and standard deviation, as a table has it."""
    number = found["accuracy"][loss][rule]["class_mean"]
    return f"{100 * number['mean']:.1f} ± {100 * number['sd']:.1f}"


def drawn(found) -> int:
    """Draw all figures and count their panels."""
    show.draw_methods(found, "a title")
    show.draw_tau(found, "a title")
    show.draw_priors(found, "a title")
    show.draw_reliability(found, "a title")
    return sum(len(plt.figure(n).axes) for n in plt.get_fignums())


def test_a_loss_of_the_table_that_no_result_holds_is_not_run(monkeypatch, cifar):
    """So that one who adds a loss finds the chapter whole."""
    new = LossRow("squared", "squared", lambda *_: torch.nn.functional.mse_loss,
                  lambda counts: None, hue="indigo", marker="*")  # fmt: skip
    monkeypatch.setitem(LOSSES, "squared", new)
    found = {row[0]: row[1:] for row in rows(show.accuracy_table(cifar))}
    assert set(found["squared"]) == {"not run"}
    assert found["PC-softmax"][1] == written(cifar, "PC-softmax")
    assert "squared" not in show.difference_table(cifar)
    assert "squared" not in show.certainty_table(cifar)
    assert drawn(cifar) == 7
    assert show.ink("squared") == show.hue("indigo")


def test_a_result_of_fewer_losses_is_shown_as_it_is(cifar):
    fewer = {
        **cifar,
        "accuracy": {k: v for k, v in cifar["accuracy"].items() if k in ("softmax", "focal")},
        "differences": {k: v for k, v in cifar["differences"].items() if "pc" not in k},
        "reliability": {k: v for k, v in cifar["reliability"].items() if k == "focal"},
    }
    found = {row[0]: row[1] for row in rows(show.accuracy_table(fewer))}
    assert found["PC-softmax"] == found["LDAM-DRW"] == "not run"
    assert "PC-softmax, prior put back" not in found
    shown = [row[0] for row in rows(show.difference_table(fewer))[2:]]
    assert shown == ["focal − softmax", "post-hoc − softmax"]
    assert drawn(fewer) == 7


def test_differences_that_are_shown_are_those_of_the_claims(cifar):
    shown = show.shown_contrasts(cifar)
    assert list(shown)[:3] == [
        "weighted_minus_softmax", "focal_minus_softmax", "ldam_minus_softmax"
    ]  # fmt: skip
    assert {"pc_minus_softmax", "pc_minus_posthoc", "pc_minus_weighted", "pc_minus_ldam",
            "posthoc_minus_softmax", "pc_prior_back_minus_softmax"} <= set(shown)  # fmt: skip


def test_each_test_has_its_table(archive):
    text = show.each_test(show.difference_table, archive)
    assert text.count("to train") == 5  # CIFAR has one test, MNIST and the birds two each
    one = show.each_test(show.difference_table, {"mnist": archive["mnist"]}, ["official"])
    assert one.count("to train") == 1
    assert show.each_test(show.accuracy_table, {}) == "Nothing is archived yet."


def test_every_recipe_and_every_spread_is_listed(archive):
    assert len(rows(show.recipes_table())) == 2 + len(show.RECIPES)
    assert len(rows(show.spread_table(archive))) == 2 + 2 * 5
    assert show.spread_table({}) == "Nothing is archived yet."


def test_colours_are_those_of_the_rows_and_of_the_book():
    assert show.ink("PC-softmax") == colour("PC-softmax")
    assert show.ink("post-hoc") == colour("post-hoc")
    assert show.ink("focal") == show.hue("grey")
    assert show.marker("LDAM-DRW") == LOSSES["LDAM-DRW"].marker


def test_the_table_of_formulas_follows_the_rows(monkeypatch):
    """A loss that is added is in it, between those that are trained and logit adjustment."""
    new = LossRow("squared", "squared", lambda *_: torch.nn.functional.mse_loss,
                  lambda counts: None, formula="(1 - f_y)^2", where=("a = b", "c = d"),
                  exact=False)  # fmt: skip
    monkeypatch.setitem(LOSSES, "squared", new)
    found = rows(show.formula_table())
    assert found[2] == ["softmax, and *post-hoc*", r"$-\log q_y$", "none", r"$\log \pi_k$"]
    assert found[4][2:] == [r"$\gamma = 2$", r"$\log \pi_k$, distorted"]
    squared = ["squared", "$(1 - f_y)^2$, $a = b$, $c = d$", "none", "nothing, distorted"]
    assert found[-2] == squared
    assert found[-1][0].startswith("logit adjustment ([Menon")
    assert found[-1][2:] == [r"$\tau$", r"$(1 - \tau) \log \pi_k$"]


def test_what_was_not_run_by_the_published_recipe_is_said(tmp_path, monkeypatch, cifar):
    claims, loaded = show.load_claims(), load_result("06_long_tailed_losses_cub50")
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setattr(show, "load_claims", lambda: claims)
    assert "not run yet" in show.published_tables()
    assert [row[3] for row in rows(show.papers_table())[2:]] == ["not run"] * 5
    values = {"official": {"accuracy": cifar["accuracy"], "differences": cifar["differences"]},
              "units": {"softmax-0": {}, "PC-softmax-0": {}}}  # fmt: skip
    save_result(show.PUBLISHED, values, protocol={}, profile="full", seeds=[0], seconds=1.0)
    save_result("06_long_tailed_losses_cub50", loaded["values"], protocol={}, profile="full",
                seeds=[0], seconds=1.0)  # fmt: skip
    text = show.published_tables()
    assert text.startswith("2 networks, seeds 0.")
    assert "PC-softmax − post-hoc" in text
    found = rows(show.papers_table())[2:]
    ways = (("softmax", "as_trained"), ("softmax", "equal"), ("PC-softmax", "as_trained"))
    assert [row[3] for row in found[:3]] == [written(cifar, *way) for way in ways]
    assert found[3][3] == "70.2 ± 0.5"


def test_a_family_is_shown_beside_its_differences(cifar):
    """Of results from before its p-values were kept, that they are to come."""
    assert "next full run" in show.family_table({k: v for k, v in cifar.items() if k != "family"})
    family = {"pc_minus_softmax": {"class_mean": {"p": 0.0123, "holm": 0.098}}}
    found = rows(show.family_table({**cifar, "family": family}))
    assert found[2] == ["PC-softmax − softmax", "class mean", "0.012", "0.098"]


def test_a_ratio_of_spreads_comes_with_its_interval(archive):
    ratio = {"mean": 0.21, "low": 0.1, "high": 0.45, "n": 5}
    number = {"over_seeds": 0.01, "over_methods": 0.05, "ratio": ratio}
    record = {"values": {"official": {"spread": {"class_mean": number}}}}
    assert rows(show.spread_table({"cifar10lt": record}))[2][-1] == "0.21 [0.10, 0.45]"
