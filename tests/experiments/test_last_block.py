"""Fine-tuning of the last block: what is trained, on what, and how it is judged."""

import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from softmi.evidence.chosen import chosen_interval
from softmi.evidence.outcomes import Outcomes, load_outcomes, save_outcomes
from softmi.evidence.results import load_result, save_result
from softmi.evidence.tables import in_points
from softmi.experiments import infocam_summary, last_block, last_block_data
from softmi.experiments import localisation_audit as audit
from softmi.experiments import localisation_audit_summary as summary
from softmi.experiments import localisation_audit_tables as tables
from softmi.experiments.last_block_data import Frozen, FrozenBirds, LastBlock, MirroredOrNot
from softmi.experiments.localisation import CONTRASTS
from softmi.maps import class_activation_map
from softmi.models.wsol import AttentionDropout

CLASSES, CHANNELS = 5, 6
SETTINGS = last_block.Settings(rates=(0.003, 0.01), seeds=2, epochs=2, batch_size=8, thresholds=5)


class FortyBirds(last_block_data.CUB):
    """Forty pictures of five classes in turn, of which thirty train."""

    size, classes, checksums, key = 448, CLASSES, {}, "key"

    def __init__(self, **_):
        self.targets = torch.arange(40) % CLASSES
        self.is_train = torch.arange(40) < 30
        corner = 40.0 + torch.arange(40)[:, None] % 7
        self.boxes = torch.cat([corner, corner, corner + 200, corner + 240], 1)

    def __len__(self):
        return 40

    def __getitem__(self, index):
        ramp = torch.linspace(0, 1, 8).expand(3, 8, 8)
        return ramp + index, int(self.targets[index])


@pytest.fixture(scope="module")
def birds():
    cub, draw = FortyBirds(), torch.Generator().manual_seed(0)
    maps = torch.rand(40, CHANNELS, 4, 4, generator=draw)
    maps[torch.arange(40), cub.targets, 1:3, 1:3] += 2
    learn = cub.is_train & ~last_block_data.put_aside(cub.targets, cub.is_train)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Conv2d(CHANNELS, 8, 1), nn.BatchNorm2d(8), nn.ReLU()).eval()
    kept = maps.half().numpy()
    return FrozenBirds(cub, kept, kept[learn.numpy()][..., ::-1], block, {"maps": "0" * 64})


@pytest.fixture(autouse=True)
def global_generator():
    """Training seeds the global generator: put it back."""
    with torch.random.fork_rng():
        yield


def test_without_dropout_logits_are_those_of_the_averaged_maps(birds):
    model = LastBlock(birds.block, 8, CLASSES, drop=None).eval()
    x = torch.rand(3, CHANNELS, 4, 4)
    expected = F.linear(birds.block(x).mean((2, 3)), model.head.weight, model.head.bias)
    torch.testing.assert_close(model(x), expected)


def test_dropout_is_in_front_of_the_block_and_behind_it_in_training_alone(birds):
    plain, dropped = (LastBlock(birds.block, 8, CLASSES, drop=d) for d in (None, (0.5, 0.9)))
    assert [type(m) for m in (dropped.maps[0], dropped.maps[2])] == [AttentionDropout] * 2
    assert (dropped.maps[0].drop_rate, dropped.maps[0].threshold) == (0.5, 0.9)
    dropped.load_state_dict(plain.state_dict())
    x = torch.rand(3, CHANNELS, 4, 4)
    torch.testing.assert_close(plain.eval()(x), dropped.eval()(x))
    assert not torch.equal(plain.train()(x), dropped.train()(x))


def test_a_sample_is_a_picture_or_its_mirror_image(birds):
    maps, mirrored = torch.zeros(200, 1, 1, 1), torch.ones(200, 1, 1, 1)
    data = MirroredOrNot(maps.half(), mirrored.half(), torch.arange(200))
    torch.manual_seed(0)
    batch, targets = data.__getitems__(list(range(200)))
    assert batch.dtype == torch.float32
    assert torch.equal(targets, torch.arange(200))
    assert abs(float(batch.mean()) - 0.5) < 4 * 0.5 / 200**0.5  # four standard errors
    assert set(batch.flatten().tolist()) == {0.0, 1.0}


def test_birds_are_computed_up_to_the_last_block_and_mirrored_where_they_train(monkeypatch):
    layers = nn.Sequential(*(nn.Identity() for _ in range(19)))
    whole = last_block_data.Backbone(nn.Sequential(nn.Identity(), layers), "weights", "1")
    asked = []

    def extract(backbone, images, key, **_):
        asked.append((backbone.checksum, key, len(backbone.module[1]), len(images)))
        return torch.stack([images[i][0] for i in range(len(images))]).half().numpy()

    monkeypatch.setattr(last_block_data, "CUB", FortyBirds)
    monkeypatch.setattr(last_block_data, "mobilenet_v2_features", lambda: whole)
    monkeypatch.setattr(last_block_data, "extract_feature_maps", extract)
    birds = last_block_data.load_frozen_birds()
    learn = birds.learn.nonzero()[:, 0]
    assert asked == [("1-17", "key", 17, 40), ("1-17", "key mirrored", 17, len(learn))]
    assert len(birds.block) == 2
    np.testing.assert_array_equal(birds.mirrored, birds.maps[learn.numpy()][..., ::-1])
    assert not (birds.learn & birds.held).any()
    assert torch.equal(birds.learn | birds.held, birds.cub.is_train)


def test_the_published_block_is_left_as_it_is_and_its_copy_learns(birds):
    before = {k: v.clone() for k, v in birds.block.state_dict().items()}
    found = last_block.train_block(birds, SETTINGS, adl=False, rate=0.01, seed=0)
    again = last_block.train_block(birds, SETTINGS, adl=False, rate=0.01, seed=0)
    for key, value in birds.block.state_dict().items():
        assert torch.equal(value, before[key])
    assert not torch.equal(found["weights"]["maps.1.0.weight"], before["0.weight"])
    for key, value in found["weights"].items():
        assert torch.equal(value, again["weights"][key])
    model = last_block.network_of(birds, SETTINGS, adl=False)
    model.load_state_dict(found["weights"])
    held = torch.from_numpy(birds.maps[birds.held.numpy()]).float()
    loss = F.cross_entropy(model.eval()(held), birds.cub.targets[birds.held]).detach()
    assert found["held_out"] == pytest.approx(float(loss), rel=1e-5)
    assert len(found["losses"]) == SETTINGS.epochs


@pytest.mark.parametrize("adl", [False, True], ids=["plain", "ADL"])
def test_sgd_leaves_the_mean_class_weight_where_it_was_whatever_the_block_learns(birds, adl):
    """The gauge theorem for a network that is trained below its head, without weight decay."""
    settings = replace(SETTINGS, weight_decay=0.0, epochs=5)
    found = last_block.train_block(birds, settings, adl=adl, rate=0.01, seed=3)
    last_block.seed_everything(3)
    first = last_block.network_of(birds, settings, adl=adl).head.weight
    weight = found["weights"]["head.weight"]
    torch.testing.assert_close(weight.mean(0), first.mean(0), atol=1e-6, rtol=0)
    assert (weight - first).abs().max() > 1e-3  # it has learned something


def test_maps_that_are_judged_are_those_of_the_trained_block(birds, monkeypatch):
    found = last_block.train_block(birds, SETTINGS, adl=True, rate=0.01, seed=0)
    seen = {}

    def measure(source, data, head, learned, maps, **_):
        seen.update(source=source, learned=learned, maps=maps)
        return {"data": data, "head": head}

    monkeypatch.setattr(audit, "measure", measure)
    given = last_block.judge_block(birds, SETTINGS, found["weights"], adl=True, seed=0)
    assert given == {"data": "CUB-50, 14 cells", "head": "softmax"}
    model = last_block.network_of(birds, SETTINGS, adl=True)
    model.load_state_dict(found["weights"])
    rows = seen["source"].seen
    with torch.no_grad():
        maps = model.maps.eval()(torch.from_numpy(birds.maps[rows.numpy()]).float())
    cam = class_activation_map(maps, found["weights"]["head.weight"], birds.cub.targets[rows])
    torch.testing.assert_close(seen["maps"]["cam"], cam)
    torch.testing.assert_close(seen["source"].pooled[rows], maps.mean((2, 3)))
    assert seen["learned"]["prior"].tolist() == pytest.approx([0.2] * 5)


@pytest.fixture
def small_run(birds, tmp_path, monkeypatch):
    """All networks of two small variants, beside outcomes of a frozen network."""
    for folder in ("claims", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setattr(last_block, "load_frozen_birds", lambda _: birds)
    for module in (summary, infocam_summary):
        monkeypatch.setattr(module, "chosen_interval", partial(chosen_interval, draws=50))
    draw = np.random.default_rng(0)
    splits = {"held": birds.held, "test": ~birds.cub.is_train}
    frozen = Outcomes(
        np.full(5, 5),
        {s: birds.cub.targets[of].numpy().astype(np.uint8) for s, of in splits.items()},
        hits={},
        sweeps={
            s: {
                f"MobileNetV2/softmax/{c} {g}": draw.random((2, int(of.sum()), 5)) < 0.5
                for c, g in itertools.product(CONTRASTS, ("none", "padded_4"))
            }
            for s, of in splits.items()
        },
    )
    name = audit.FILES[last_block.DATA]
    save_result(name, {}, protocol={}, profile="full", seeds=[0, 1], seconds=0.0, device="cpu",
                outcomes=save_outcomes(name, frozen, "full"))  # fmt: skip
    values = last_block.run(SETTINGS, device="cpu")
    kept = sorted((tmp_path / "_build" / "full" / last_block.NAME).glob("*.pt"))
    return SimpleNamespace(values=values, kept=kept, frozen=frozen)


def test_a_run_compares_both_variants_with_the_frozen_network_and_resumes(small_run):
    values, kept = small_run.values, small_run.kept
    assert len(kept) == 2 * (2 + 1 + 2)  # two rates, the second seed, two judged, of each variant
    times = [path.stat().st_mtime_ns for path in kept]
    assert last_block.run(SETTINGS, device="cpu") == values
    assert [path.stat().st_mtime_ns for path in kept] == times
    for variant in last_block.VARIANTS:
        rates = values["rates"][variant]
        assert rates["held_out"][f"{rates['rate']:g}"] == min(rates["held_out"].values())
        assert set(values["grid"][variant]) == set(CONTRASTS)
    saved = load_result(last_block.NAME)
    assert saved["values"].keys() == values.keys()
    assert saved["protocol"]["epochs"] == "2"
    ours, theirs = load_outcomes(last_block.NAME), small_run.frozen
    plain, cell = values["grid"]["softmax"], ours.sweeps["held"]["softmax/cam none"]
    chosen = [int(of.mean(0).argmax()) for of in cell]  # the first of the best for held-out images
    hits = [
        of[:, t] for of, t in zip(ours.sweeps["test"]["softmax/cam none"], chosen, strict=True)
    ]
    assert plain["cam"]["none"]["gt_known"]["mean"] == pytest.approx(np.mean(hits))
    for variant, minus in values["minus_frozen"].items():
        name = "MobileNetV2/softmax/cam none"
        chosen = [int(of.mean(0).argmax()) for of in theirs.sweeps["held"][name]]
        frozen = [
            of[:, t].mean() for of, t in zip(theirs.sweeps["test"][name], chosen, strict=True)
        ]
        own = values["grid"][variant]["cam"]["none"]["gt_known"]["mean"]
        assert minus["cam"]["none"]["mean"] == pytest.approx(own - np.mean(frozen))
    adl = values["grid"]["softmax_adl"]["cam"]["none"]["gt_known"]["mean"]
    gain = values["adl_minus_plain"]["cam"]["none"]["mean"]
    assert gain == pytest.approx(adl - plain["cam"]["none"]["gt_known"]["mean"])


def test_the_table_has_a_row_for_each_variant_map_and_geometry(small_run):
    table = tables.fine_tuned_table(small_run.values, ["none", "padded_4"])
    lines = table.splitlines()
    assert len(lines) == 2 + 2 * 3 * 2
    cell = small_run.values["grid"]["softmax_adl"]["infocam"]["padded_4"]
    share, gain = tables.share(cell["gt_known"]), in_points(cell["minus_cam"])
    expected = ("fine-tuned with ADL", "infoCAM", "padded window 4", share, gain)
    assert sum(line.startswith(f"| {' | '.join(expected)} |") for line in lines) == 1


def test_frozen_maps_are_read_in_single_precision(birds):
    maps, _ = Frozen(birds.maps)[3]
    assert maps.dtype == torch.float32
    assert len(Frozen(birds.maps)) == 40
    np.testing.assert_array_equal(maps.numpy(), birds.maps[3].astype(np.float32))
