"""Chapter 08: its full profile, on tiny data, gives every number of its archive and claims."""

import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from softmi import BoxAccuracy, MaxBoxAccuracy
from softmi.evidence.chosen import chosen_interval
from softmi.evidence.ledger import load_claims
from softmi.evidence.outcomes import Outcomes, load_outcomes
from softmi.evidence.results import load_result, lookup, project_root, save_result
from softmi.experiments import infocam_summary
from softmi.experiments import localisation_audit as audit
from softmi.experiments import localisation_audit_controls as controls
from softmi.experiments import localisation_audit_data as data
from softmi.experiments import localisation_audit_heads as heads
from softmi.experiments import localisation_audit_summary as summary
from softmi.experiments.localisation import CONTRASTS, HEADS, RATES, Task, place
from softmi.experiments.localisation_accuracy import evaluate
from softmi.models.backbones import Backbone

CLASSES, IMAGES = 5, 30


def source_of(name: str, network: str, *, seed: int = 0, device: str = "cpu") -> data.Source:
    """Thirty images of five classes whose objects are bright in one channel."""
    tiny, cells = name.startswith("Tiny-ImageNet"), 8 if "14 cells" in name else 4
    draw = torch.Generator().manual_seed(len(network))
    targets = torch.arange(IMAGES) % CLASSES
    features = torch.rand(IMAGES, 8, cells, cells, generator=draw)
    features[torch.arange(IMAGES), targets, 1:3, 1:3] += 2
    size = 64 if tiny else 112
    corner = size * (0.2 + 0.2 * torch.rand(IMAGES, 2, generator=draw))
    boxes = torch.cat([corner, corner + size / 2], 1).round()
    third = torch.arange(IMAGES) // (IMAGES // 3)
    if tiny:
        backbone = Backbone(torch.nn.Identity(), "none", "0")
        features = data.StreamedMaps(backbone, [(maps, 0) for maps in features])
    return data.Source(features, targets, boxes, third == 0, third == 1, third == 2, size,
                       {"images": "0" * 64})  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return source_of("CUB-50", "MobileNetV2")


@pytest.fixture(scope="module")
def task(source):
    learned = heads.learn_head(source, "softmax", rate=0.03, seed=0, epochs=3)
    maps = heads.maps_of_part(source, {("softmax", 0): learned}, source.seen)["softmax-0"]
    seen = source.seen
    logits = heads.logits_of(source, "softmax", learned, seen)
    return Task(maps, logits, source.targets[seen], source.boxes[seen], source.held[seen], 112)


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
    assert full.seeds >= 3  # an interval over seeds
    for name in full.networks:
        window = 4 if name.startswith("CUB-50") else 3
        assert audit.geometries_of(name) == ["none", f"padded_{window}"]
    assert audit.geometries_of("CUB-50", "softmax", "cam")[2:] == ["blur_4", "shrink_4"]
    assert full.batch_sizes == {"CUB-50": (30, 128), "Tiny-ImageNet": (640, 1280)}


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """A bootstrap of few draws: here it matters whose hits are drawn, not how often."""
    few = partial(chosen_interval, draws=100)
    with pytest.MonkeyPatch.context() as patch:
        for module in (summary, infocam_summary):
            patch.setattr(module, "chosen_interval", few)
        yield


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The full profile on tiny data: one network and two seeds of two heads."""
    root = tmp_path_factory.mktemp("root")
    for folder in ("claims", "notebooks"):
        (root / folder).mkdir()
    full = audit.SETTINGS["full"]
    one = {name: networks[:1] for name, networks in full.networks.items()}
    one.pop("Tiny-ImageNet, 14 cells")
    small = replace(full, epochs=1, thresholds=5, networks=one, seeds=2,
                    heads=("softmax", "pc_softmax_skewed"))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setitem(audit.SETTINGS, "full", small)
        patch.setattr(audit, "source_of", source_of)
        for optimizer in RATES:
            patch.setitem(RATES, optimizer, RATES[optimizer][-1:])  # one rate each, for time
        patch.setattr(audit, "PART", 16)  # images of a unit: two or three units
        patch.setenv("SOFTMI_ROOT", str(root))
        values = audit.run("full")
        kept = sorted((root / "_build" / "full" / audit.NAME).glob("*.pt"))
        times = [path.stat().st_mtime_ns for path in kept]
        again = audit.run("full")
        assert [path.stat().st_mtime_ns for path in kept] == times
        results = {name: load_result(audit.FILES[name]) for name in one}
        outcomes = {name: load_outcomes(audit.FILES[name]) for name in one}
    return SimpleNamespace(values=values, again=again, kept=kept, results=results,
                           outcomes=outcomes, settings=small)  # fmt: skip


def test_full_profile_gives_what_the_archive_holds_and_claims_read(small_run, full):
    for name, now in small_run.results.items():
        if name not in full:
            continue
        before = load_result(audit.FILES[name])
        assert set(now["protocol"]) == set(before["protocol"])
        assert now["provenance"]["seeds"] == [0, 1]
        for network, found in now["values"].items():
            first = full[name][network]
            assert set(found) == set(first)
            for key in set(found) - {"grid", "heads", "rates"}:
                assert structure(found[key]) == structure(first[key])
            for head in small_run.settings.heads:
                assert structure(found["heads"][head]) == structure(first["heads"][head])
                assert structure(found["grid"][head]) == structure(first["grid"][head])
    claims = [c for c in load_claims(project_root() / "claims") if c.notebook == audit.NAME]
    by_file = {audit.FILES[name]: now for name, now in small_run.results.items()}
    read = 0
    for check in (check for c in claims for check in (c.check, *c.conditions)):
        name, path = check.result.split(":")
        if name in by_file and path.startswith("MobileNetV2") and "adam" not in path:
            lookup(by_file[name], path)
            read += 1
    assert read > 5


def test_an_interrupted_run_goes_on_from_what_is_kept(small_run):
    assert small_run.again == small_run.values
    averages, maps = 2, 3 * 2  # parts of 16: of 30 images of one data set, of 20 of each of three
    heads_and_rates = 3 * (1 + 2 * 2 + 1)  # rates, heads, and PC-softmax to compare with
    assert len(small_run.kept) == averages + maps + heads_and_rates + 3 * 2 * 2


def test_data_sets_that_have_not_been_run_are_left_out_of_the_archive(tmp_path, monkeypatch):
    for folder in ("claims", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="tiny_14_cells"):
        audit.archived()
    save_result(audit.FILES["CUB-50"], {"network": {}}, protocol={}, profile="full", seeds=[0],
                seconds=0.0)  # fmt: skip
    assert audit.archived() == {"CUB-50": {"network": {}}}


def test_all_intervals_follow_from_the_outcomes_that_are_kept(small_run):
    for name, found in small_run.values.items():
        for network, values in found.items():
            kept = summary.differences(summary.of_network(small_run.outcomes[name], network))
            for head, cells in kept.pop("grid").items():
                for contrast, by in cells.items():
                    for geometry, entry in by.items():
                        cell = values["grid"][head][contrast][geometry]
                        assert entry == {key: cell[key] for key in entry}
            boxes = kept.pop("boxes")
            assert {k: v["gt_known"] for k, v in values["boxes"].items()} == boxes
            assert kept == {key: values[key] for key in kept}


def test_finer_cells_are_compared_with_coarser_ones_of_the_same_network(small_run):
    fine = small_run.values["CUB-50, 14 cells"]["MobileNetV2"]
    coarse = small_run.values["CUB-50"]["MobileNetV2"]
    for contrast, geometry in itertools.product(CONTRASTS, ("none", "padded_4")):
        a, b = (v["grid"]["softmax"][contrast][geometry]["gt_known"] for v in (fine, coarse))
        assert fine["minus_coarse"][contrast][geometry]["mean"] == pytest.approx(
            a["mean"] - b["mean"], abs=1e-12
        )
    assert "minus_coarse" not in coarse


def test_a_cell_at_a_threshold_is_what_the_outcomes_say(small_run):
    """Hits at a fixed threshold, and at the best one, from the record and from the sweep."""
    of = summary.of_network(small_run.outcomes["CUB-50"], "MobileNetV2")
    cell = small_run.values["CUB-50"]["MobileNetV2"]["grid"]["softmax"]["cam"]["padded_4"]
    share = of.sweeps["test"]["softmax/cam padded_4"].mean(1)  # seeds, thresholds
    assert cell["fixed"]["values"] == pytest.approx(share[:, 1].tolist())  # 0.2 of five steps
    assert cell["max_box_acc"]["values"] == pytest.approx(share.max(1).tolist())


def test_smoke_run_computes_all_anew_on_the_cpu_and_keeps_its_result_alone(tmp_path, monkeypatch):
    made = []

    def scenes(name, network, *, seed, device):
        made.append((name, network, seed, device))
        return source_of(name, network)

    settings = replace(audit.SETTINGS["smoke"], epochs=1, thresholds=2, heads=("softmax",),
                       networks={"scenes": ("GAPNet 16",)})  # fmt: skip
    monkeypatch.setitem(audit.SETTINGS, "smoke", settings)
    monkeypatch.setattr(heads, "RATES", ("sgd",))  # of two optimisers, for time
    monkeypatch.setattr(audit, "source_of", scenes)
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    values = audit.run("smoke", seed=2, device="cuda")
    assert made == [("scenes", "GAPNet 16", 2, "cpu")]
    assert not (tmp_path / "_build").exists()
    [path] = (tmp_path / "results").rglob("*.json")
    assert path.relative_to(tmp_path / "results").as_posix() == f"smoke/{audit.NAME}_scenes.json"
    saved = load_result(audit.FILES["scenes"], "smoke")
    assert saved["protocol"]["input"] == "64"
    assert saved["provenance"]["seeds"] == [2]
    assert saved["provenance"]["device"].startswith("CPU (")
    assert saved["values"]["GAPNet 16"].keys() == values["scenes"]["GAPNet 16"].keys()


@pytest.mark.parametrize("card", [True, False], ids=["a card", "no card"])
def test_the_full_profile_takes_a_card_where_there_is_one_unless_told_otherwise(card, monkeypatch):
    runs = []

    def run_data(name, settings, profile, *, seed, device, coarse):
        runs.append((name, profile, seed, device, coarse))
        return {"found": len(runs)}, f"outcomes of {name}"

    monkeypatch.setattr(audit, "run_data", run_data)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    values = audit.run("full", seed=1, device="auto")
    of = "cuda" if card else "cpu"
    coarse = [None, "outcomes of CUB-50", None, "outcomes of Tiny-ImageNet"]
    names = list(audit.SETTINGS["full"].networks)
    assert runs == [(n, "full", 1, of, c) for n, c in zip(names, coarse, strict=True)]
    assert values == {name: {"found": i + 1} for i, name in enumerate(names)}
    runs.clear()
    audit.run("full", device="cpu")
    assert {device for *_, device, _ in runs} == {"cpu"}


def test_an_unknown_data_set_is_named(source):
    with pytest.raises(
        ValueError, match="no data set 'ImageNet'; there are scenes, CUB-50; CUB-50, 14 c"
    ):
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

    def __getitem__(self, row):
        return torch.full((3, 2, 2), float(row)), 0


def test_birds_and_tiny_pictures_choose_by_images_of_their_own(monkeypatch):
    backbone = Backbone(torch.nn.Identity(), "weights", "1")
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
    assert torch.equal(pictures.seen, torch.arange(20, 30)[torch.tensor([0, 1, 2, 3, 6, 7, 8, 9])])
    assert len(pictures.used) == 28
    rows = torch.tensor([7, 3])
    assert torch.equal(pictures.read(rows)[:, 0, 0, 0], torch.tensor([7.0, 3.0]))  # as it is read


def test_boxes_are_judged_at_one_size_whatever_the_network_sees(monkeypatch):
    class Large(ThirtyBirds):
        size = 448

    monkeypatch.setitem(
        data.BACKBONES, "MobileNetV2", lambda: Backbone(torch.nn.Identity(), "weights", "1")
    )
    monkeypatch.setattr(
        data, "extract_feature_maps", lambda *_, **__: np.zeros((30, 2, 1, 1), np.float16)
    )
    monkeypatch.setattr(data, "CUB", Large)
    birds = data.source_of("CUB-50, 14 cells", "MobileNetV2")
    assert birds.size == 112
    assert torch.equal(birds.boxes, torch.full((30, 4), 2.0))


def test_streamed_maps_give_the_numbers_of_kept_ones():
    kept, streamed = (source_of(name, "MobileNetV2") for name in ("CUB-50", "Tiny-ImageNet"))
    averages = heads.pool_part(streamed, streamed.used)["pooled"]
    assert torch.equal(averages, kept.pooled)
    streamed = replace(streamed, averages=averages)
    learned = {("softmax", 0): heads.learn_head(kept, "softmax", rate=0.01, seed=0, epochs=1)}
    of_kept, of_streamed = (heads.maps_of_part(s, learned, s.seen) for s in (kept, streamed))
    for name in CONTRASTS:
        assert torch.equal(of_kept["softmax-0"][name], of_streamed["softmax-0"][name])


def test_rates_are_those_of_the_least_held_out_cross_entropy(source):
    rates = heads.choose_rates(source, seed=0, epochs=1)
    for found in rates.values():
        assert found["held_out"][str(found["rate"])] == min(found["held_out"].values())


# --- Boxes --------------------------------------------------------------------------------------


def test_boxes_of_cam_unchanged_are_judged_as_its_maps_are(task):
    found = controls.controls(task, window=4, thresholds=10, seed=0)
    judged = evaluate(task, "cam", "none", 10)
    for split in ("held_hits", "test_hits"):
        assert torch.equal(found["as they are"][split], judged[split])
    assert set(found) == {
        "as they are", "smaller", "nearer the middle", "both",
        "another image's CAM, none", "another image's CAM, shrink_4",
    }  # fmt: skip


def test_moved_boxes_are_right_where_the_overlap_is_a_half(task):
    held, test = task.splits
    boxes = task.boxes[:, None].repeat(1, 2, 1)  # the truth at the first threshold,
    boxes[:, 1] = torch.tensor([0.0, 0, 1, 1])  # and a corner at the second
    found = controls.hits_of_boxes(task, boxes)
    for split, rows in (("held_hits", held), ("test_hits", test)):
        assert found[split].shape == (len(rows), 2)
        assert found[split][:, 0].all()
        assert not found[split][:, 1].any()


def test_boxes_at_a_threshold_are_those_that_the_metric_counts(task):
    test = task.splits[1]
    chooses = MaxBoxAccuracy(thresholds=20)
    maps = place(task.maps["infocam"], "none", task.size)
    chooses.update(maps[task.splits[0]], task.boxes[task.splits[0]])
    metric = BoxAccuracy(chooses)
    metric.update(maps[test], task.boxes[test])
    boxes = controls.boxes_at(task, "infocam", [t / 20 for t in range(20)]).float()
    hits = controls.hits_of_boxes(task, boxes)["test_hits"][:, int(metric.chosen)]
    assert torch.equal(hits, metric.hits(maps[test], task.boxes[test])[:, 0])


def test_maps_that_see_nothing_gain_from_a_threshold_for_each_image():
    for found in controls.evaluate_blind_maps(1, images=200).values():
        gain = found["per_image"] - found["max_box_acc"]
        assert gain > 3 * (gain / len(found["hits"])) ** 0.5


# --- Summaries ----------------------------------------------------------------------------------


def test_what_is_said_of_a_head_has_a_spread():
    def record(x):
        head = {"accuracy": x, "information": x, "cosine": x, "box": 0.25,
                "nats": {"cam": {"total": x, "inside": x / 2}}}  # fmt: skip
        return {"head": head, "alike": {"cam": torch.tensor([x, x + 0.5]).double()}}

    found = summary.summarise_heads([record(1.0), record(3.0)])
    assert found["accuracy"] == {"mean": 2.0, "sd": 2**0.5, "n": 2, "values": [1.0, 3.0]}
    alike = found["correlation"]["cam"]
    assert alike["mean"] == 2.25
    assert alike["low"] < 2.25 < alike["high"]
    assert found["nats"]["cam"]["inside"]["mean"] == 1.0
    assert found["box"] == 0.25


def test_outcomes_of_networks_are_told_apart_again():
    hits = {"test": {"softmax/recognised": np.zeros((1, 3), bool)}}
    sweeps = {s: {"softmax/cam none": np.ones((1, 3, 2), bool)} for s in ("held", "test")}
    labels = {s: np.arange(3, dtype=np.uint8) for s in ("held", "test")}
    one = Outcomes(np.ones(3, int), labels, hits, sweeps=sweeps)
    other = replace(one, sweeps={s: {k: ~v for k, v in by.items()} for s, by in sweeps.items()})
    both = summary.of_all_networks({"A": one, "A b": other})
    for name, of in (("A", one), ("A b", other)):
        again = summary.of_network(both, name)
        assert again.sweeps.keys() == of.sweeps.keys()
        for split, by in of.sweeps.items():
            assert list(again.sweeps[split]) == list(by)
            for cell, found in by.items():
                assert np.array_equal(again.sweeps[split][cell], found)
