"""Chapter 08: its tables and figures show the archived numbers, and what the text says of them."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from softmi.datasets import misread_boxes
from softmi.datasets.scenes import Scenes
from softmi.evidence.chosen import best_choice
from softmi.evidence.outcomes import load_outcomes
from softmi.evidence.results import project_root
from softmi.experiments import localisation_audit as audit
from softmi.experiments import localisation_audit_figures as figures
from softmi.experiments import localisation_audit_summary as summary
from softmi.experiments import localisation_audit_tables as tables
from softmi.experiments.published_code import weights_of_running_means


@pytest.fixture(scope="module")
def full():
    return audit.archived()


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    plt.close("all")


def test_maps_of_cam_and_infocam_are_alike_after_sgd_and_not_after_adam(full):
    for place_ in tables.settings_of(full):
        found = full[place_[0]][place_[1]]
        alike = {h: e["correlation"]["infocam"]["mean"] for h, e in found["heads"].items()}
        assert alike["softmax"] > 0.99 > alike["softmax_adam"]
        assert found["pc_from_softmax"] < 1e-5  # equally many images: PC-softmax is softmax


def test_tables_show_the_archived_numbers(full):
    misread = tables.misread_table(full)
    assert "| the true boxes themselves | 100.0 | 66.4 |" in misread
    first = full["CUB-50"]["MobileNetV2"]["grid"]["softmax"]["cam"]
    for window, geometry in ((False, "none"), (True, "padded_4")):
        table = tables.grid_table(full, window=window)
        assert f"| CUB-50 | MobileNetV2 | {tables.share(first[geometry]['gt_known'])} |" in table
    settings = len(tables.settings_of(full))
    for table in (tables.grid_table(full, window=True), tables.threshold_table(full),
                  tables.controls_table(full), tables.nats_table(full),
                  tables.split_table(full)):  # fmt: skip
        assert table.count("\n") == 1 + settings
    assert tables.running_means_table(full).count("\n") == 1 + 2 * settings
    assert tables.differences_table(full).count("\n") == 1 + 3 * settings
    assert tables.heads_table(full).count("\n") == 1 + 3 * len(full)
    assert "| CUB-50 | SqueezeNet | 1,200 | 300 | 1,389 |" in tables.split_table(full)


def test_shares_are_written_in_per_cent_with_their_interval():
    assert tables.share(0.5) == "50.0"
    assert tables.share({"mean": 0.5, "low": 0.4, "high": 0.6}) == "50.0 [40.0, 60.0]"
    assert tables.share({"mean": 0.5, "sd": 0.1, "n": 3}) == "50.0"  # seeds alone: no interval


def test_each_mark_of_the_figures_is_an_archived_difference(full):
    figure = figures.draw_contrasts(full)
    names = ["infocam", "infocam_plus", "rivals_1", "rivals_3"]
    for axes, name in zip(figure.axes, names, strict=True):
        marks = [bar.lines[0].get_xdata()[0] for bar in axes.containers]
        expected = [
            100 * full[d][n]["grid"][head][name][tables.in_window(d)]["minus_cam"]["mean"]
            for d, n in tables.settings_of(full)
            for head in tables.HEAD
        ]
        assert marks == expected
    [axes] = figures.draw_windows(full).axes
    marks = [bar.lines[0].get_xdata()[0] for bar in axes.containers]
    assert marks == [
        100
        * full[d][n]["grid"]["softmax"]["cam"][f"{kind}_{audit.WINDOWS[d]}"]["minus_no_window"][
            "mean"
        ]
        for d, n in tables.settings_of(full)
        for kind in figures.KINDS
    ]


def test_the_figure_of_weights_shows_them():
    lines = figures.draw_weights([(100, 10)] * 2).axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), weights_of_running_means(100, 10))


def test_the_figure_of_misread_boxes_shows_both():
    boxes = torch.tensor([[8.0, 4, 24, 28]]).repeat(3, 1)
    scenes = Scenes(torch.rand(3, 1, 64, 64), torch.zeros(3).long(), boxes,
                         torch.zeros(3, 64, 64, dtype=torch.bool))  # fmt: skip
    for axes in figures.draw_misread_boxes(scenes).axes:
        true, read = (patch.get_bbox().extents.tolist() for patch in axes.patches)
        assert true == boxes[0].tolist()
        np.testing.assert_allclose(read, misread_boxes(boxes)[0])


def test_archived_values_are_those_of_the_files(full):
    for name, values in full.items():
        path = project_root() / "results" / f"{audit.FILES[name]}.json"
        assert values == json.loads(path.read_text())["values"]


def test_archived_shares_follow_from_the_outcomes_that_are_kept(full):
    """GT-known and Top-1 of each seed, at the threshold that is best for its held-out images."""
    for name, networks in full.items():
        kept = load_outcomes(audit.FILES[name])
        for network, values in networks.items():
            of = summary.of_network(kept, network)
            for head, contrast, geometry, cell in cells_of(values):
                sweep = f"{head}/{contrast} {geometry}"
                chosen = best_choice(of.sweeps["held"][sweep])[:, None, None]
                right = np.take_along_axis(of.sweeps["test"][sweep], chosen, 2)[:, :, 0]
                recognised = of.hits["test"][f"{head}/recognised"]
                assert cell["gt_known"]["values"] == pytest.approx(right.mean(1), abs=1e-9)
                assert cell["top1"]["values"] == pytest.approx(
                    (right & recognised).mean(1), abs=1e-9
                )


SETTINGS_OF_ALL = [
    pytest.param(name, network, marks=[pytest.mark.minutes] if i else [])
    for i, (name, network) in enumerate(tables.settings_of(audit.archived()))
]


@pytest.mark.parametrize(("name", "network"), SETTINGS_OF_ALL)
def test_archived_intervals_follow_from_the_outcomes_that_are_kept(name, network, full):
    found = summary.differences(summary.of_network(load_outcomes(audit.FILES[name]), network))
    values, compared = full[name][network], 0
    for head, contrast, geometry, cell in cells_of(values):
        for key, interval in found["grid"][head][contrast][geometry].items():
            same_interval(cell[key], interval)
            compared += 1
    for key in ("minus_centred_box", "controls", "controls_difference"):
        for name_, entry in found[key].items():
            if "mean" in entry:
                same_interval(values[key][name_], entry)
                compared += 1
                continue
            for geometry, interval in entry.items():
                same_interval(values[key][name_][geometry], interval)
                compared += 1
    assert compared > 100


def cells_of(values):
    for head, contrasts in values["grid"].items():
        for contrast, geometries in contrasts.items():
            for geometry, cell in geometries.items():
                yield head, contrast, geometry, cell


def same_interval(stored, computed):
    for key, value in computed.items():
        assert stored[key] == pytest.approx(value, abs=1e-9), key
