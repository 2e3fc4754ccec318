"""Chapter 07: the run at a tiny size, what it saves, and what its text says of the archive."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from softmi.datasets import CUB
from softmi.evidence.outcomes import load_outcomes
from softmi.evidence.results import load_result
from softmi.experiments import infocam, infocam_figures, infocam_tables
from softmi.experiments.infocam import SETTINGS, Settings, measure, measure_birds
from softmi.experiments.infocam_data import Birds, scene_network, two_digits
from softmi.experiments.infocam_summary import BOX, collect, difference, differences
from softmi.experiments.localisation import CONTRASTS, Task
from softmi.models import Backbone

TINY = Settings(
    data="tiny", seeds=2, thresholds=5, windows=(2, 3, 4),
    rates=(("softmax", 0.1), ("softmax_adam", 1e-3)), drawn=(0, 1, 2, 3),
)  # fmt: skip
CLASSES, TRAIN, TEST = 4, 10, 6


class Patches(nn.Module):
    """Feature maps of 7 x 7 cells: means of the colours, and their squares."""

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.adaptive_avg_pool2d(images, 7)
        return 5 * torch.cat([cells, cells**2], 1)


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Birds:
    """Four classes of coloured squares, in the files of CUB."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("birds") / "CUB_200_2011"
    tables: dict[str, list[str]] = {
        n: [] for n in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    number = 0
    for k in range(CLASSES):
        for i in range(TRAIN + TEST):
            number += 1
            name = f"{k + 1:03d}.Bird/Bird_{number:04d}.png"
            pixels = rng.integers(0, 60, (56, 56, 3)).astype(np.uint8)
            x, y, side = *rng.integers(0, 24, 2).tolist(), int(rng.integers(20, 32))
            pixels[y : y + side, x : x + side, k % 3] += 100 + 40 * (k // 3)
            (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / "images" / name)
            tables["images"].append(f"{number} {name}")
            tables["image_class_labels"].append(f"{number} {k + 1}")
            tables["train_test_split"].append(f"{number} {int(i < TRAIN)}")
            tables["bounding_boxes"].append(f"{number} {x}.0 {y}.0 {side}.0 {side}.0")
    for name, lines in tables.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    cub, module = CUB(folder, size=56), Patches()
    features = module(torch.stack([image for image, _ in (cub[i] for i in range(len(cub)))]))
    return Birds(cub, Backbone(module, "patches", "none"), features, size=56)


@pytest.fixture(scope="module")
def records(birds):
    return [measure_birds(birds, TINY, seed=s, first=s == 0) for s in (0, 1)]


def classes_of(birds):
    cub, held = birds.images, birds.held
    parts = {"train": cub.is_train & ~held, "held": held, "test": ~cub.is_train}
    return {name: cub.targets[part] for name, part in parts.items()}


@pytest.fixture(scope="module")
def collected(birds, records):
    return collect(records, classes_of(birds))


@pytest.fixture(scope="module")
def values(collected):
    return collected[0]


def keys(node, path=""):
    """Dotted names of all numbers; lists count as one."""
    if not isinstance(node, dict):
        return {path}
    return {name for key, below in node.items() for name in keys(below, f"{path}.{key}")}


def test_profiles_judge_the_geometries_of_the_chapter():
    full = SETTINGS["full"]
    assert full.main == ("none", "padded_4", "blur_4", "shrink_4")
    assert len(full.geometries) == 13
    assert set(full.main) < set(full.geometries)
    assert SETTINGS["smoke"].main == ("none", "padded_3", "blur_3", "shrink_3")


@pytest.mark.usefixtures("no_shape_checks")
def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match=r"one of \['full', 'smoke'\], got 'ful'"):
        infocam.run("ful")


def test_contrasts_are_those_of_the_formula():
    assert {name: kind["contrast"] for name, kind in CONTRASTS.items()} == {
        "cam": "none", "infocam": "mean", "infocam_plus": "least", "rivals_1": "rivals",
        "rivals_3": "rivals",
    }  # fmt: skip


def test_birds_are_divided_as_the_chapter_says(birds, records):
    assert records[0]["split"] == {"head": 32, "held": 8, "test": 24}
    assert birds.images.targets[birds.held].bincount().tolist() == [2] * 4


@pytest.mark.parametrize("name", infocam.FILES.values())
def test_full_run_gives_every_number_of_the_archive_and_no_other(values, records, name):
    archived = load_result(name)["values"]
    assert keys(values) == keys(archived)
    drawn = load_result(f"{name}_maps")["values"]
    assert keys(records[0]["pictures"]) == keys(drawn)
    assert keys(records[0]["pictures"]["examples"][0]) == keys(drawn["examples"][0])


def test_smoke_run_gives_what_the_full_run_gives_but_for_heads(values):
    learned = scene_network(3, epochs=1)
    settings = replace(TINY, thresholds=3, windows=(3,))
    part = learned.task
    small = Task(
        {n: m[:24] for n, m in part.maps.items()}, part.logits[:24], part.targets[:24],
        part.boxes[:24], part.held[:24], part.size,
    )  # fmt: skip
    record = measure(small, learned.weights, settings, seed=0, everything=True)
    held, test = small.splits
    classes = {"train": learned.train.targets, "held": small.targets[held],
               "test": small.targets[test]}  # fmt: skip
    found, _ = collect([record], classes)
    of_heads = {
        "accuracy", "information", "cosine", "smallest_cosine", "mean_weight_direction",
        "adam_cosine", "map_correlation", "mirror", "split",
    }  # fmt: skip
    assert found.keys() == values.keys() - of_heads


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own, without results."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    return tmp_path


def test_a_smoke_run_judges_the_network_on_scenes_and_keeps_nothing_but_its_result(
    project, monkeypatch
):
    part, asked = scene_network(3, epochs=1), []
    held = torch.arange(12) % 2 == 0
    maps = {n: m[:12] for n, m in part.maps.items()}
    task = Task(maps, part.logits[:12], part.task.targets[:12], part.task.boxes[:12], held, 48)

    def learned(seed):
        asked.append(seed)
        return SimpleNamespace(task=task, weights=part.weights, train=part.train)

    monkeypatch.setattr(infocam, "scene_network", learned)
    monkeypatch.setitem(SETTINGS, "smoke", replace(SETTINGS["smoke"], thresholds=2))
    values = infocam.run("smoke", seed=4, device="cuda")
    assert asked == [4]
    left = sorted(p.name for p in (project / "results" / "smoke").rglob("*.*"))
    assert left == ["07_infocam.json", "07_infocam.npz"]
    assert not (project / "_build").exists()
    saved = load_result("07_infocam", "smoke")
    assert keys(saved["values"]) == keys(values)
    assert saved["protocol"]["data"] == "digit scenes"
    assert saved["protocol"]["backbone"] == "GAPNet, trained"
    found = saved["provenance"]
    assert (found["seeds"], found["data"]) == ([4], {})
    assert found["device"].startswith("CPU (")  # whatever was asked for
    # Every second scene is put aside: six are judged, in the main geometries and in the others.
    record = measure(task, part.weights, SETTINGS["smoke"], seed=4, everything=True)
    classes = {"train": part.train.targets, "held": task.targets[::2],
               "test": task.targets[1::2]}  # fmt: skip
    assert values == collect([record], classes)[0]


@pytest.mark.parametrize(("classes", "name"), [
    (4, "CUB, 4 classes"), (50, "CUB-50 (classes 1-50 of CUB-200-2011)"), (200, "CUB-200-2011"),
])  # fmt: skip
def test_a_full_run_says_on_which_birds_and_weights_its_numbers_rest(
    project, birds, records, monkeypatch, classes, name
):
    monkeypatch.setattr(birds.images, "classes", classes)
    asked = []
    monkeypatch.setattr(infocam, "load_birds", lambda *size: asked.append(size) or birds)
    monkeypatch.setattr(infocam, "measure_birds", lambda *_, seed, **__: records[seed])
    monkeypatch.setattr(infocam.infocam_two_digits, "run", lambda seed: {})
    monkeypatch.setitem(SETTINGS, "full", TINY)
    values = infocam.run("full", device="cpu")
    assert asked == [(448, "cpu"), (224, "cpu")]  # 14 and 7 cells of 32 pixels
    assert keys(values) == keys(load_result("07_infocam_14_cells")["values"])
    saved, drawn = load_result("07_infocam"), load_result("07_infocam_maps")
    assert saved["protocol"]["cells"] == "7 x 7"
    assert load_result("07_infocam_14_cells")["protocol"]["cells"] == "14 x 14"
    assert drawn["values"]["thresholds"] == records[0]["pictures"]["thresholds"]
    for result in (saved, drawn):
        assert result["protocol"]["data"] == name
        assert result["protocol"]["weights"] == "patches"
        assert result["provenance"]["seeds"] == [0, 1]
        assert result["provenance"]["data"] == birds.images.checksums | {"patches": "none"}
    cell = saved["values"]["grid"]["cam"]["none"]["gt_known"]
    assert cell["values"] == pytest.approx([r["grid"]["cam"]["none"]["gt_known"] for r in records])


def test_a_full_run_takes_the_card_where_there_is_one(project, birds, records, monkeypatch):
    used = []

    def load(side, device):
        used.append(device)
        return birds

    def measured(*_, seed, first, device):
        used.append(device)
        return records[seed]

    monkeypatch.setattr(infocam, "load_birds", load)
    monkeypatch.setattr(infocam, "measure_birds", measured)
    monkeypatch.setattr(infocam.infocam_two_digits, "run", lambda seed: {})
    monkeypatch.setitem(SETTINGS, "full", TINY)
    for there, device in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9000")
        used.clear()
        infocam.run("full", seed=0)
        assert used[0] == device
        told = load_result("07_infocam")["provenance"]["device"]
        assert told.startswith("Card 9000" if there else "CPU (")


def test_the_head_of_a_seed_is_measured_once_for_the_same_data_network_and_settings(
    project, birds, monkeypatch
):
    calls = []

    def measured(birds, settings, *, seed, first, device):
        calls.append((seed, first, device))
        return {"seed": seed}

    monkeypatch.setattr(infocam, "measure_birds", measured)
    run = {"seed": 3, "device": "cpu"}
    found, classes = infocam.run_birds(birds, TINY, **run)
    assert [record["seed"] for record in found] == [3, 4]
    assert all(record["seconds"] >= 0 for record in found)
    assert calls == [(3, True, "cpu"), (4, False, "cpu")]  # the grid is for the first alone
    expected = classes_of(birds)
    assert classes.keys() == expected.keys()
    assert all(torch.equal(classes[part], expected[part]) for part in expected)
    assert infocam.run_birds(birds, TINY, **run)[0] == found
    assert len(calls) == 2
    infocam.run_birds(birds, replace(TINY, seeds=1, thresholds=6), **run)
    assert len(calls) == 3
    other = replace(birds, backbone=replace(birds.backbone, checksum="other"))
    infocam.run_birds(other, TINY, **run)
    assert len(calls) == 5
    monkeypatch.setattr(CUB, "key", "other images")
    infocam.run_birds(birds, TINY, **run)
    assert len(calls) == 7


def test_numbers_of_all_seeds_and_of_the_first_alone_are_where_they_belong(values, records):
    cell = values["grid"]["infocam"]["padded_4"]["gt_known"]
    assert cell["values"] == [r["grid"]["infocam"]["padded_4"]["gt_known"] for r in records]
    first = records[0]["grid"]["infocam"]["padded_4"]
    assert values["geometries"]["infocam"]["padded_4"]["gt_known"] == first["gt_known"]
    assert "geometries" not in records[1]
    assert values["minus_cam"]["rivals_3"]["none"]["seeds"] == 2
    for seed, cell in enumerate(values["chosen"]["cells"]):  # the best for held-out images
        name, geometry = cell.split()
        of_seed = [[c["held_out"] for c in by.values()] for by in records[seed]["grid"].values()]
        assert records[seed]["grid"][name][geometry]["held_out"] == np.max(of_seed)


def test_differences_are_paired_by_image_and_mean_over_seeds(values, records, collected):
    of = [
        [r["grid"][n]["none"]["hits"].double().numpy() for r in records]
        for n in ("infocam_plus", "cam")
    ]
    d = np.mean(of[0], axis=0) - np.mean(of[1], axis=0)
    assert values["minus_cam"]["infocam_plus"]["none"]["mean"] == pytest.approx(d.mean())
    assert values["minus_cam"]["cam"]["none"]["mean"] == 0
    box = records[0]["baselines"]["centred_best"]["hits"].double().numpy()
    expected = np.mean(of[1], axis=0).mean() - box.mean()
    found = difference(collected[1], ["cam none"], BOX)
    assert found["mean"] == pytest.approx(expected)
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["low_classes"] <= found["mean"] <= found["high_classes"]


def test_all_differences_follow_from_the_outcomes_that_are_kept(collected):
    values, outcomes = collected
    found = differences(outcomes)
    assert found.items() <= values.items()
    assert found["ingredients"]["cam"]["blur_4"]["seeds"] == 2
    assert found["ingredients"]["cam"]["faded_4"]["seeds"] == 1  # the first seed alone
    assert outcomes.counts.tolist() == [8] * 4


def test_identities_hold_on_trained_heads(values, records):
    assert values["centring_error"]["mean"] < 1e-12
    assert values["mean_weight_direction"]["mean"] > 0.999
    assert values["map_correlation"]["cam"]["mean"] == pytest.approx(1)
    share = values["nats"]["infocam"]
    assert 0 < share["area"]["mean"] < 1
    assert np.mean(records[0]["pictures"]["means"]["boxes"]) == pytest.approx(
        share["area"]["mean"], abs=1e-3  # rounded for drawing
    )  # fmt: skip


def test_maps_of_mirrored_images_of_a_fair_network_do_not_lean(values):
    """Cells are means of their own pixels, so the maps of a mirrored image are mirrored."""
    assert values["mirror"]["mean"] == pytest.approx(0, abs=1e-5)


def test_pictures_and_tables_are_drawn_from_any_result(values, records):
    learned = scene_network(3, epochs=1)
    two = two_digits(learned, 5)
    figures = [
        infocam_figures.draw_maps(learned),
        infocam_figures.draw_gauge(learned, learned.maps),
        infocam_figures.draw_nats(learned),
        infocam_figures.draw_two_digits(two),
        infocam_figures.draw_geometries(values),
        infocam_figures.draw_means(records[0]["pictures"]["means"]),
        infocam_figures.draw_thresholds(values),
    ]
    for figure in figures:
        figure.canvas.draw()
        plt.close(figure)
    assert infocam_tables.two_digits_table(two).count("\n") == 7
    lines = infocam_tables.grid_table(values, tuple(infocam_tables.ALL_COLUMNS)).splitlines()
    assert len(lines) == 2 + 5 * 4 + 4
    assert lines[-1].startswith("| *box: centred, best side* | sees nothing |")
    assert infocam_tables.contrast_table(values).count("−") >= 12
    assert infocam_tables.cells_table(values, values).count("\n") == 11
    for table in ("ingredients", "control", "centred_box", "heads", "nats"):
        assert getattr(infocam_tables, f"{table}_table")(values).count("\n") >= 4


def same_numbers(found, stored):
    """As stored, to ten digits."""
    if isinstance(found, dict):
        same = (same_numbers(found[key], stored[key]) for key in found)
        return found.keys() == stored.keys() and all(same)
    if isinstance(found, list):
        return all(same_numbers(a, b) for a, b in zip(found, stored, strict=True))
    return found == stored or found == pytest.approx(stored, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("name", infocam.FILES.values())
def test_a_difference_of_a_result_follows_from_the_outcomes_kept_with_it(name):
    stored, outcomes = load_result(name)["values"], load_outcomes(name)
    found = difference(outcomes, ["infocam_plus padded_4"], "cam padded_4")
    assert same_numbers(found, stored["minus_cam"]["infocam_plus"]["padded_4"])


@pytest.mark.minutes
@pytest.mark.parametrize("name", infocam.FILES.values())
def test_all_differences_of_a_result_follow_from_the_outcomes_kept_with_it(name):
    stored = load_result(name)["values"]
    for key, found in differences(load_outcomes(name)).items():
        assert same_numbers(found, stored[key]), key


def test_text_of_the_chapter_holds_for_the_archive():
    """What the prose says of the archived runs, beside the claims."""
    fine, coarse = (load_result(name)["values"] for name in infocam.FILES.values())
    for name in infocam.FILES.values():
        assert load_result(name)["protocol"]["data"].startswith("CUB-50")
    for geometry in fine["minus_cam"]["infocam"].values():  # not to be told from CAM
        assert geometry["low"] < 0 < geometry["high"]
    plus = fine["minus_cam"]["infocam_plus"]
    assert plus["none"]["low"] < 0 < plus["none"]["high"]
    for geometry in ("padded_4", "shrink_4", "blur_4"):  # also if other species are imagined
        assert min(plus[geometry]["low"], plus[geometry]["low_classes"]) > 0
    assert all(by["high"] < 0 for by in fine["minus_cam"]["rivals_3"].values())
    by = fine["ingredients"]["cam"]
    assert by["blur_4"]["high"] < 0
    assert all(by[f"faded_{w}"]["mean"] < 1e-9 for w in (2, 3, 4))  # does not help
    assert by["shrink_4"]["mean"] > by["padded_4"]["mean"]  # all of the gain
    own = fine["grid"]["cam"]
    for g, other in fine["permuted"].items():  # half as often, or more often
        assert 0.5 < other["gt_known"] / own[g]["gt_known"]["mean"] < 1
    to_box = fine["minus_centred_box"]
    for name in ("cam", "infocam", "infocam_plus"):
        assert to_box[name]["none"]["low"] < 0 < to_box[name]["none"]["high"]
        assert min(to_box[name][g]["low"] for g in ("padded_4", "shrink_4")) > 0
    assert min(to_box["infocam_plus"][g]["low_classes"] for g in ("padded_4", "shrink_4")) > 0
    assert set(fine["chosen"]["cells"]) == {"infocam_plus padded_4", "infocam_plus shrink_4"}
    gain = [values["minus_no_window"]["cam"]["padded_4"]["mean"] for values in (fine, coarse)]
    assert 0.3 < gain[0] / gain[1] < 0.45  # about a third
    assert coarse["minus_centred_box"]["cam"]["none"]["high"] < -0.1  # far below


def test_a_reviewers_own_pipeline_found_the_same_on_maps_of_14_cells():
    """54.9 for CAM and 56.8 for the box with two seeds, each within two points."""
    fine = load_result("07_infocam_14_cells")["values"]
    assert fine["grid"]["cam"]["none"]["gt_known"]["mean"] == pytest.approx(0.549, abs=0.02)
    assert fine["baselines"]["centred_best"]["gt_known"] == pytest.approx(0.568, abs=0.001)
    assert fine["minus_cam"]["infocam_plus"]["padded_4"]["low"] < 0.026  # theirs: 2.6 points
