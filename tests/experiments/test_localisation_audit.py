"""Chapter 08: its full profile, on tiny data, gives every number of its archive and claims."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from softmi import BoxAccuracy, MaxBoxAccuracy
from softmi.datasets import misread_boxes
from softmi.evidence.ledger import load_claims
from softmi.evidence.results import load_result, lookup, project_root
from softmi.experiments import localisation_audit as audit
from softmi.experiments import localisation_audit_data as data
from softmi.experiments import localisation_audit_figures as figures
from softmi.experiments import localisation_audit_tables as tables
from softmi.experiments.localisation import CONTRASTS, HEADS, place
from softmi.experiments.localisation_accuracy import evaluate
from softmi.experiments.localisation_audit_summary import Outcomes, summarise_heads
from softmi.experiments.published_code import weights_of_running_means

CLASSES, IMAGES = 5, 45


def source_of(name: str, network: str, *, seed: int = 0, device: str = "cpu") -> data.Source:
    """Forty-five images of five classes whose objects are bright in one channel."""
    size = 64 if name == "Tiny-ImageNet" else 112
    draw = torch.Generator().manual_seed(len(network))
    targets = torch.arange(IMAGES) % CLASSES
    features = torch.rand(IMAGES, 8, 4, 4, generator=draw)
    features[torch.arange(IMAGES), targets, 1:3, 1:3] += 2
    corner = size * (0.2 + 0.2 * torch.rand(IMAGES, 2, generator=draw))
    boxes = torch.cat([corner, corner + size / 2], 1).round()
    third = torch.arange(IMAGES) // (IMAGES // 3)
    return data.Source(features, targets, boxes, third == 0, third == 1, third == 2, size,
                       {"images": "0" * 64})  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return source_of("Tiny-ImageNet", "MobileNetV2")


@pytest.fixture(scope="module")
def settings():
    return replace(audit.SETTINGS["full"], epochs=1, thresholds=5)


@pytest.fixture(scope="module")
def task(source):
    return audit.task_of(source, HEADS["softmax"], rate=0.03, seed=0, epochs=3)[1]


@pytest.fixture(scope="module")
def full():
    return audit.archived()


@pytest.fixture(autouse=True)
def global_generator_and_figures():
    """Training seeds the global generator: put it back, and leave no figure open."""
    with torch.random.fork_rng():
        yield
    plt.close("all")


def structure(values):
    if not isinstance(values, dict):
        return None
    return {key: structure(value) for key, value in values.items()}


# --- The run ------------------------------------------------------------------------------------


def test_settings_of_the_full_run_are_the_authors_windows_and_batches():
    full = audit.SETTINGS["full"]
    assert set(full.heads) <= set(HEADS)
    assert full.windows == (3, 4)  # theirs on Tiny-ImageNet and on the birds
    assert full.batch_sizes == {"CUB-50": (30, 128), "Tiny-ImageNet": (640, 1280)}
    assert full.geometries == [
        "none", "padded_3", "padded_4", "blur_3", "blur_4", "shrink_3", "shrink_4"
    ]  # fmt: skip


def test_full_profile_gives_what_the_archive_holds_and_claims_read_and_resumes(
    tmp_path, monkeypatch, settings
):
    claims = [c for c in load_claims(project_root() / "claims") if c.notebook == audit.NAME]
    (tmp_path / "claims").mkdir()
    (tmp_path / "notebooks").mkdir()
    old = {name: load_result(name) for name in list(audit.FILES.values())[1:]}
    one = {name: networks[:1] for name, networks in settings.networks.items()}
    small = replace(settings, networks=one, seeds=2, heads=("softmax", "softmax_adam"))
    few = ["none", "padded_3", "padded_4"]  # of seven: each cell is made in the same way
    monkeypatch.setattr(audit.Settings, "geometries", few)
    monkeypatch.setitem(audit.SETTINGS, "full", small)
    monkeypatch.setattr(audit, "source_of", source_of)
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    values = audit.run("full")
    for name, before in old.items():
        now = load_result(name)
        assert set(now["protocol"]) == set(before["protocol"])
        assert now["provenance"]["seeds"] == [0, 1]
        for network, found in now["values"].items():
            first = old[name]["values"][network]
            assert set(found) == set(first)
            for key in set(found) - {"grid", "heads", "minus_centred_box"}:
                assert structure(found[key]) == structure(first[key])
            for head, contrast, geometry in itertools.product(small.heads, CONTRASTS, few):
                assert structure(found["heads"][head]) == structure(first["heads"][head])
                cell, before = (v["grid"][head][contrast][geometry] for v in (found, first))
                assert structure(cell) == structure(before)
                minus, _ = (v["minus_centred_box"][contrast][geometry] for v in (found, first))
                assert set(minus) == {"mean", "low", "high", "n"}
    for claim in claims:
        for check in (claim.check, *claim.conditions):
            name, path = check.result.split(":")
            if path.startswith("MobileNetV2"):
                lookup(load_result(name), path)
    kept = sorted((tmp_path / "_build" / "full" / audit.NAME).glob("*.pt"))
    assert len(kept) == 2 * (1 + 2 + 1)  # rates, two seeds of the main head, the other head
    times = [path.stat().st_mtime_ns for path in kept]
    assert audit.run("full") == values
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_smoke_run_computes_all_anew_on_the_cpu_and_keeps_its_result_alone(tmp_path, monkeypatch):
    made = []

    def scenes(name, network, *, seed, device):
        made.append((name, network, seed, device))
        return source_of(name, network)

    settings = replace(audit.SETTINGS["smoke"], epochs=1, thresholds=2, heads=("softmax",),
                       networks={"scenes": ("GAPNet 16",)})  # fmt: skip
    monkeypatch.setitem(audit.SETTINGS, "smoke", settings)
    monkeypatch.setattr(audit.Settings, "geometries", ["none", "padded_3"])
    monkeypatch.setattr(audit, "RATES", ("sgd",))  # of two optimisers, for time
    monkeypatch.setattr(audit, "source_of", scenes)
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    values = audit.run("smoke", seed=2, device="cuda")
    assert audit.run("smoke", seed=2) == values
    assert made == [("scenes", "GAPNet 16", 2, "cpu")] * 2
    assert not (tmp_path / "_build").exists()
    [path] = (tmp_path / "results").rglob("*.json")
    assert path.relative_to(tmp_path / "results").as_posix() == f"smoke/{audit.NAME}_scenes.json"
    saved = load_result(audit.FILES["scenes"], "smoke")
    assert saved["protocol"]["input"] == "64"
    assert saved["provenance"]["seeds"] == [2]
    assert saved["provenance"]["device"].startswith("CPU (")
    assert saved["values"]["GAPNet 16"].keys() == values["scenes"]["GAPNet 16"].keys()


@pytest.mark.parametrize("card", [True, False], ids=["a card", "no card"])
def test_the_full_profile_takes_a_card_where_there_is_one_unless_told_otherwise(
    card, tmp_path, monkeypatch
):
    runs = []

    def network(pictures, name, settings, *, seed, device, keep):
        runs.append((pictures, name, seed, device, keep))
        return {"found": len(runs)}, {f"{pictures} {name}": "0" * 64}

    monkeypatch.setattr(audit, "run_network", network)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9000")
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    values = audit.run("full", seed=1, device="auto")
    pairs = [(d, n) for d, ns in audit.SETTINGS["full"].networks.items() for n in ns]
    assert runs == [(*pair, 1, "cuda" if card else "cpu", True) for pair in pairs]
    for pictures, networks in audit.SETTINGS["full"].networks.items():
        saved = load_result(audit.FILES[pictures])
        assert saved["values"] == values[pictures]
        assert list(values[pictures]) == list(networks)
        told = saved["provenance"]
        assert told["data"] == {f"{pictures} {name}": "0" * 64 for name in networks}
        assert told["device"].startswith("Card 9000" if card else "CPU (")
    runs.clear()
    audit.run("full", device="cpu")
    assert {device for *_, device, _ in runs} == {"cpu"}


def test_an_unknown_data_set_is_named(source):
    with pytest.raises(ValueError, match="no data set 'ImageNet'; there are scenes, CUB-50, Tiny"):
        data.source_of("ImageNet", "MobileNetV2")


def test_scenes_are_divided_into_those_that_learn_choose_and_are_judged(monkeypatch):
    monkeypatch.setattr(data, "SCENES_TRAIN", 30)
    monkeypatch.setattr(data, "SCENES_TEST", 10)
    monkeypatch.setattr(data, "SMALL_EPOCHS", 1)
    data.scenes.cache_clear()
    try:
        source = data.source_of("scenes", "GAPNet 4")
        again = data.source_of("scenes", "GAPNet 4")
    finally:
        data.scenes.cache_clear()
    assert source.split == {"learn": 30, "held": 5, "test": 5}
    assert ((source.learn.int() + source.held.int() + source.test.int()) == 1).all()
    assert torch.equal(source.features, again.features)
    assert source.pooled.shape == (40, source.features.shape[1])


class Thirty:
    """Thirty images of two classes in turn, of which twenty train."""

    checksums, key, classes = {}, "key", 2

    def __init__(self, **_):
        self.targets = torch.arange(30) % 2
        self.is_train = torch.arange(30) < 20
        self.is_held = (torch.arange(30) >= 20) & (torch.arange(30) < 26)
        self.boxes = torch.full((30, 4), 8.0)

    def __len__(self):
        return 30


class ThirtyBirds(Thirty, data.CUB):
    size = 224


class ThirtyPictures(Thirty, data.TinyImageNet):
    size = 128


def test_birds_and_tiny_pictures_choose_by_images_of_their_own(monkeypatch):
    backbone = SimpleNamespace(weights="weights", checksum="1")
    monkeypatch.setitem(data.BACKBONES, "MobileNetV2", lambda: backbone)
    maps = np.zeros((30, 2, 1, 1), np.float16)
    monkeypatch.setattr(data, "extract_feature_maps", lambda *_, **__: maps)
    monkeypatch.setattr(data, "CUB", ThirtyBirds)
    birds = data.source_of("CUB-50", "MobileNetV2")
    assert birds.size == 112
    assert birds.checksums == {"weights": "1"}
    assert birds.held.nonzero().flatten().tolist() == [8, 9, 18, 19]  # fifth and tenth of each
    assert birds.learn.sum() == 16
    assert torch.equal(birds.test, torch.arange(30) >= 20)
    assert torch.equal(birds.boxes, torch.full((30, 4), 4.0))
    monkeypatch.setattr(data, "TINY_HELD", 2)
    monkeypatch.setattr(data, "TinyImageNet", ThirtyPictures)
    pictures = data.source_of("Tiny-ImageNet", "MobileNetV2")
    assert pictures.size == 64
    assert pictures.held.nonzero().flatten().tolist() == [20, 21, 22, 23]  # not all that may
    assert torch.equal(pictures.learn, torch.arange(30) < 20)
    assert torch.equal(pictures.test, torch.arange(30) >= 26)


def test_rates_are_those_of_the_least_held_out_cross_entropy(source):
    rates = audit.choose_rates(source, seed=0, epochs=1)
    for found in rates.values():
        assert found["held_out"][str(found["rate"])] == min(found["held_out"].values())


# --- Boxes --------------------------------------------------------------------------------------


def test_boxes_of_cam_unchanged_are_judged_as_its_maps_are(task):
    found = audit.controls(task, window=4, thresholds=10, seed=0)
    assert torch.equal(found["as they are"], evaluate(task, "cam", "none", 10)["hits"])
    assert set(found) == {
        "as they are", "smaller", "nearer the middle", "both",
        "another image's CAM, none", "another image's CAM, shrink_4",
    }  # fmt: skip


def test_the_threshold_of_moved_boxes_is_chosen_on_held_out_images(task):
    held, test = task.splits
    boxes = audit.boxes_at(task, "cam", [0.0, 0.5])
    boxes[held, 1] = task.boxes[held].long()  # right at the second threshold, for them alone
    boxes[test, 1] = torch.tensor([0, 0, 1, 1])
    assert not audit.hits_at_chosen_threshold(task, boxes).any()


def test_boxes_at_a_threshold_are_those_that_the_metric_counts(task):
    held, test = task.splits
    maps = place(task.maps["infocam"], "none", task.size)
    chooses = MaxBoxAccuracy(thresholds=20)
    chooses.update(maps[held], task.boxes[held])
    metric = BoxAccuracy(chooses)
    metric.update(maps[test], task.boxes[test])
    boxes = audit.boxes_at(task, "infocam", [t / 20 for t in range(20)])
    assert torch.equal(audit.hits_at_chosen_threshold(task, boxes),
                       metric.hits(maps[test], task.boxes[test])[:, 0])  # fmt: skip


def test_maps_that_see_nothing_gain_from_a_threshold_for_each_image():
    for found in audit.evaluate_blind_maps(1, images=200).values():
        gain = found["per_image"] - found["max_box_acc"]
        assert gain > 3 * (gain / len(found["hits"])) ** 0.5


# --- Summaries ----------------------------------------------------------------------------------


def test_means_and_differences_are_over_the_seeds_that_have_both_cells(source):
    def record(cam, plus=None):
        cells = {"cam none": {"hits": torch.tensor(cam)}}
        if plus is not None:
            cells["cam padded_3"] = {"hits": torch.tensor(plus)}
        return {"cells": cells}

    first = record([True, True, False, False], [True, True, True, False])
    records = {("softmax", 1): record([False, True, True, True]), ("softmax", 0): first}
    outcomes = Outcomes(records, source)
    assert outcomes.first is records["softmax", 0]
    assert outcomes.hits("softmax", "cam none").tolist() == [0.5, 1, 0.5, 0.5]
    assert outcomes.hits("softmax", "cam padded_3").tolist() == [1, 1, 1, 0]
    assert outcomes.difference("softmax", "cam padded_3", "cam none")["mean"] == 0.25


def test_what_is_said_of_a_head_has_a_spread_and_nats_have_none():
    def head(x):
        return {"accuracy": x, "information": x, "cosine": x, "correlation": {"cam": x},
                "nats": {"cam": {"total": x, "inside": x / 2}}, "box": 0.25}  # fmt: skip

    found = summarise_heads([head(1.0), head(3.0)])
    assert found["accuracy"] == {"mean": 2.0, "sd": 2**0.5, "n": 2, "values": [1.0, 3.0]}
    assert found["correlation"]["cam"]["mean"] == 2
    assert found["nats"] == {"cam": {"total": 2.0, "inside": 1.0}}
    assert found["box"] == 0.25


# --- What the text says of the archive --------------------------------------------------------


def test_maps_of_cam_and_infocam_are_alike_after_sgd_and_not_after_adam(full):
    for place_ in tables.settings_of(full):
        found = full[place_[0]][place_[1]]
        alike = {h: e["correlation"]["infocam"]["mean"] for h, e in found["heads"].items()}
        assert alike["softmax"] > 0.99 > alike["softmax_adam"]
        assert found["pc_from_softmax"] < 1e-5  # equally many images: PC-softmax is softmax


def test_tables_show_the_archived_numbers(full):
    misread = tables.misread_table(full)
    assert "| the true boxes themselves | 100.0 | 66.4 |" in misread
    columns = "| CUB-50, MobileNetV2 | CUB-50, SqueezeNet | Tiny-ImageNet, MobileNetV2 |"
    cell = full["CUB-50"]["MobileNetV2"]["grid"]["softmax"]["cam"]["padded_4"]["gt_known"]
    for table in (tables.grid_table(full, ["none", "padded_4"]), tables.windows_table(full),
                  tables.controls_table(full)):  # fmt: skip
        assert columns in table
    assert f"| CAM | padded window 4 | {tables.share(cell)} |" in tables.grid_table(
        full, ["padded_4"]
    )
    assert "| *box: whole picture* | sees nothing |" in tables.grid_table(full, ["none"])
    assert "another image's CAM, shrunk only 4" in tables.controls_table(full)
    assert tables.running_means_table(full).count("\n") == 1 + 4 * 3 * 2
    assert tables.threshold_table(full).count("\n") == tables.nats_table(full).count("\n") == 5
    assert tables.heads_table(full).count("\n") == 1 + 4 * 4
    assert "| CUB-50, SqueezeNet | 1,200 | 300 | 1,389 | 0.001 | 0.001 |" in tables.split_table(
        full
    )


def test_shares_are_written_in_per_cent_with_their_interval():
    assert tables.share(0.5) == "50.0"
    assert tables.share({"mean": 0.5, "low": 0.4, "high": 0.6}) == "50.0 [40.0, 60.0]"


def test_each_mark_of_the_figures_is_an_archived_difference(full):
    figure = figures.draw_contrasts(full)
    names = ["infocam", "infocam_plus", "rivals_1", "rivals_3"]
    for axes, name in zip(figure.axes, names, strict=True):
        marks = [bar.lines[0].get_xdata()[0] for bar in axes.containers]
        expected = [
            100 * full[d][n]["grid"][head][name]["none"]["minus_cam"]["mean"]
            for d, n in tables.settings_of(full)
            for head in tables.HEAD
        ]
        assert marks == expected
    figure = figures.draw_windows(full)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]  # by style
    assert titles == ["window of 3", "window of 4"]
    assert all(len(axes.containers) == 4 * 3 for axes in figure.axes)


def test_the_figure_of_weights_shows_them():
    lines = figures.draw_weights([(100, 10)] * 2).axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), weights_of_running_means(100, 10))


def test_the_figure_of_misread_boxes_shows_both():
    boxes = torch.tensor([[8.0, 4, 24, 28]]).repeat(3, 1)
    scenes = data.Scenes(torch.rand(3, 1, 64, 64), torch.zeros(3).long(), boxes,
                         torch.zeros(3, 64, 64, dtype=torch.bool))  # fmt: skip
    for axes in figures.draw_misread_boxes(scenes).axes:
        true, read = (patch.get_bbox().extents.tolist() for patch in axes.patches)
        assert true == boxes[0].tolist()
        np.testing.assert_allclose(read, misread_boxes(boxes)[0])


def test_archived_values_are_those_of_the_files(full):
    for name, values in full.items():
        path = project_root() / "results" / f"{audit.FILES[name]}.json"
        assert values == json.loads(path.read_text())["values"]
