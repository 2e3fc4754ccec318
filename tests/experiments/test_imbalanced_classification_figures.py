"""Tables and figures of chapter 05 show the numbers of a result."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from softmi.evidence.results import load_result
from softmi.experiments import imbalanced_classification_figures as show


@pytest.fixture(scope="module")
def full():
    return load_result("05_imbalanced_classification")["values"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")]


def test_the_table_of_accuracies_has_every_method_and_a_baseline(full):
    found = rows(show.accuracy_table(full, "official"))
    assert len(found) == 2 + len(show.WAYS) + 1
    pc = full["official"]["accuracy"]["pc_softmax"]["equal"]["class_mean"]
    line = next(row for row in found if row[0] == "PC-softmax")
    assert line[3] == f"{100 * pc['mean']:.2f} ± {100 * pc['sd']:.2f}"


def test_differences_come_with_their_intervals(full):
    found = rows(show.difference_table(full, "official"))
    assert [row[0] for row in found[2:]] == list(show.CONTRAST_NAMES.values())
    gain = full["official"]["differences"]["pc_minus_softmax"]["class_mean"]
    mean, low, high = (100 * gain[key] for key in ("mean", "low", "high"))
    assert found[2][2] == f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] up"


@pytest.mark.parametrize("table", ["parts", "gain", "information", "certainty", "weights"])
def test_tables_are_whole(table, full):
    found = rows(getattr(show, f"{table}_table")(full))
    assert len({len(row) for row in found}) == 1
    assert len(found) > 3


def test_figures_are_drawn(full):
    show.draw_rules(full, "official", "a title")
    show.draw_headline(full)
    show.draw_classes(full)
    show.draw_prior_curve(full)
    figures = [plt.figure(n) for n in plt.get_fignums()]
    assert [len(figure.axes) for figure in figures] == [2, 4, 1, 1]
    assert figures[0].get_suptitle() == "a title"
