"""Archived runs on CUB-50, again: heads, maps and counts by the public metrics of today.

Needs the data and the network of the full profile under SOFTMI_DATA, and minutes for the feature
maps where they are not in the cache yet.
"""

import os
from pathlib import Path

import pytest
from torch.utils.data import Subset

from softmi.datasets import CUB
from softmi.evidence.results import load_result
from softmi.experiments import infocam
from softmi.experiments.infocam_data import Birds
from softmi.experiments.localisation import (
    HEADS,
    Task,
    contrast_maps,
    put_aside,
    train_head,
)
from softmi.experiments.localisation_accuracy import blind_boxes, evaluate
from softmi.models import average_pool, extract_feature_maps, mobilenet_v2_features
from softmi.training import predict_logits

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere")) / "CUB_200_2011_c50_s224.tar"

pytestmark = [
    pytest.mark.minutes,
    pytest.mark.skipif(not DATA.exists(), reason=f"SOFTMI_DATA/{DATA.name} not there"),
]
TEST = 1389  # images


@pytest.fixture(scope="module")
def birds() -> Birds:
    cub, backbone = CUB(DATA), mobilenet_v2_features()
    images = Subset(cub, range(len(cub)))  # a Dataset, for the checks of annotations
    return Birds(cub, backbone, extract_feature_maps(backbone, images, cub.key))


def count(share: float) -> int:
    """Images of a share of the test; the archive has ten digits."""
    images = round(TEST * share)
    assert abs(images - TEST * share) < 1e-5
    return images


def test_counts_of_chapter_08_are_those_of_the_archive(birds):
    """MobileNetV2, softmax with SGD, first seed: all contrasts and geometries."""
    archived = load_result("08_localisation_audit_cub50")["values"]["MobileNetV2"]
    cub, held = birds.images, put_aside(birds.images.targets, birds.images.is_train)
    learn, seen, pooled = cub.is_train & ~held, held | ~cub.is_train, average_pool(birds.features)
    rate = archived["rates"]["sgd"]["rate"]
    head, *_ = train_head(pooled[learn], cub.targets[learn], HEADS["softmax"], rate=rate, seed=0)
    logits, targets = predict_logits(head, pooled[seen]), cub.targets[seen]
    maps = contrast_maps(birds.features, head.weight, targets, logits, index=seen.nonzero()[:, 0])
    task = Task(maps, logits, targets, cub.boxes[seen] / 2, held[seen], 112)
    for name, geometries in archived["grid"]["softmax"].items():
        for geometry, cell in geometries.items():
            found = evaluate(task, name, geometry, 20, v2=True)
            print(name, geometry, int(found["hits"].sum()), count(cell["gt_known"]["values"][0]))
            assert int(found["hits"].sum()) == count(cell["gt_known"]["values"][0])
            for key in ("top1", "max_box_acc", "per_image", "fixed"):
                assert count(found[key]) == count(cell[key]["values"][0]), (name, geometry, key)
            for key in ("held_out", "threshold", "v2", "max_box_acc_v2"):
                assert found[key] == pytest.approx(cell[key]["values"][0], abs=1e-9)
    held_out, test = task.splits
    recognised = task.logits[test].argmax(1) == task.targets[test]
    blind = blind_boxes(task.boxes[test], task.boxes[held_out], 112, recognised=recognised)
    for name, box in blind.items():
        assert box["side"] == archived["boxes"][name]["side"]
        assert int(box["hits"].sum()) == count(archived["boxes"][name]["gt_known"]["mean"])


@pytest.mark.parametrize("name", ["cam", "infocam_plus"])
def test_counts_of_chapter_07_are_those_of_the_archive(birds, name):
    """First seed, 100 thresholds, whole pictures."""
    settings, archived = infocam.SETTINGS["full"], load_result("07_infocam")["values"]
    head, _ = infocam.head_of(birds, "softmax", settings, seed=0)
    task = infocam.task_of_birds(birds, head)
    for geometry in archived["grid"][name]:
        found = evaluate(task, name, geometry, settings.thresholds, v2=True)
        cells = archived["grid"][name][geometry]
        print(name, geometry, int(found["hits"].sum()), count(cells["gt_known"]["values"][0]))
        for key, cell in cells.items():
            assert found[key] == pytest.approx(cell["values"][0], abs=1e-9), (geometry, key)
