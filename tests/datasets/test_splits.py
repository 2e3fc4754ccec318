"""The splits that papers cut from data sets: long tails, and the first of each class."""

import os
from pathlib import Path

import pytest
import torch
from picture_sets import four_birds, write_folder

from softmi.datasets import (
    CUB,
    first_per_class,
    imbalanced_cub_indices,
    long_tailed_counts,
    mnist,
    paper_mnist_indices,
)

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


real_mnist = pytest.mark.skipif(
    not (DATA / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").exists(),
    reason="SOFTMI_DATA/MNIST/raw not there",
)


real_cub = pytest.mark.skipif(
    not (DATA / "CUB_200_2011_c50_s224.tar").exists(), reason="SOFTMI_DATA has no CUB-50"
)


def first_per_class_slowly(targets: list[int], counts: list[int]) -> list[int]:
    seen = [0] * len(counts)
    kept = []
    for i, y in enumerate(targets):
        if seen[y] < counts[y]:
            kept.append(i)
        seen[y] += 1
    return kept


@pytest.mark.parametrize(
    "counts", [[3, 0, 5, 1], [100, 100, 100, 100], [0, 0, 0, 0], [1, 2, 3, 4]]
)
def test_first_per_class_keeps_the_first_of_each_in_the_order_of_the_data(counts):
    targets = torch.randint(4, (60,), generator=torch.Generator().manual_seed(0))
    found = first_per_class(targets, counts).tolist()
    assert found == first_per_class_slowly(targets.tolist(), counts)


def test_first_per_class_of_nothing_is_nothing():
    assert first_per_class(torch.zeros(0, dtype=torch.long), [1, 2]).tolist() == []


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("counts", [[1, -1, 2], [1, 2], [[1], [2], [3]]])
def test_first_per_class_refuses_counts_that_do_not_fit(counts):
    with pytest.raises(ValueError, match=r"one for each class in targets \(0 to 2\), got \[") as e:
        first_per_class(torch.tensor([0, 1, 2]), counts)
    assert str(counts) in str(e.value)


def test_paper_split_takes_its_counts_from_its_two_ranges():
    targets = torch.randint(10, (60_000,), generator=torch.Generator().manual_seed(0))
    train, test = paper_mnist_indices(targets)
    caps = [300, 3000] * 5
    assert train.tolist() == first_per_class_slowly(targets[:40_000].tolist(), caps)
    later = first_per_class_slowly(targets[40_000:50_000].tolist(), caps)
    assert test.tolist() == [40_000 + i for i in later]
    assert torch.bincount(targets[train]).tolist() == caps
    # About 1,000 of each digit in 10,000: the odd ones are all there, the even ones capped.
    counts = torch.bincount(targets[test])
    assert counts[::2].tolist() == [300] * 5
    assert torch.equal(counts[1::2], torch.bincount(targets[40_000:50_000])[1::2])


def test_paper_split_needs_all_of_mnist():
    with pytest.raises(ValueError, match="60,000 train labels, got 10000"):
        paper_mnist_indices(torch.zeros(10_000, dtype=torch.long))


@real_mnist
def test_paper_split_of_the_real_mnist_has_16500_and_6559_images():
    images, targets = mnist("train", root=DATA, download=False)
    assert images.shape == (60_000, 28, 28)
    train, test = paper_mnist_indices(targets)
    assert len(train) == 16_500
    assert torch.bincount(targets[train]).tolist() == [300, 3000] * 5
    assert len(test) == 6_559
    expected = [300, 1115, 300, 1020, 300, 902, 300, 1050, 300, 972]
    assert torch.bincount(targets[test]).tolist() == expected
    assert not set(train.tolist()) & set(test.tolist())
    # Pixel statistics that everyone normalises MNIST with.
    pixels = images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_long_tail_of_cifar_has_the_counts_of_its_papers():
    counts = long_tailed_counts()
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(counts) == 12_406
    assert sum(long_tailed_counts(100, 500, 100)) == 10_847  # CIFAR-100-LT
    assert long_tailed_counts(4, 7, 1) == [7] * 4
    assert long_tailed_counts(1, 7, 7.0) == [7]


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "arguments", [(0, 5000, 100), (10, 50, 100), (10, 5000, 0.5), (10, 5000, float("nan"))]
)
def test_impossible_long_tails_are_refused_with_what_was_asked(arguments):
    classes, largest, factor = arguments
    message = f"classes={classes}, largest={largest}, factor={factor}"
    with pytest.raises(ValueError, match=message):
        long_tailed_counts(*arguments)


class ManyBirds:
    """What the split needs of a CUB object: five classes with 30 train and 20 test images."""

    def __init__(self, classes: list[int]) -> None:
        self.targets = torch.tensor(classes).repeat_interleave(50)
        self.is_train = torch.arange(50).repeat(len(classes)) % 5 < 3

    def __len__(self) -> int:
        return len(self.targets)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], [0, 1, 4, 7, 9]], ids=["all", "a subset"])
def test_classes_of_odd_number_are_cut_to_ten_birds(classes):
    cub = ManyBirds(classes)
    odd = torch.tensor(classes) % 2 == 0  # class number = index + 1
    train, test = imbalanced_cub_indices(cub)
    assert cub.is_train[train].all()
    counts = torch.bincount(cub.targets[train])[classes]
    assert counts.tolist() == torch.where(odd, 10, 30).tolist()
    assert test.tolist() == (~cub.is_train).nonzero().flatten().tolist()
    kept = train[cub.targets[train] == 0]  # the first ten in the order of the images
    assert kept.tolist() == [i for i in range(50) if i % 5 < 3][:10]
    same, cut = imbalanced_cub_indices(cub, cut_test=True)
    assert torch.equal(same, train)
    assert not cub.is_train[cut].any()
    assert torch.bincount(cub.targets[cut])[classes].tolist() == torch.where(odd, 5, 15).tolist()


def test_the_split_of_a_real_cub_object(tmp_path):
    cub = CUB(write_folder(four_birds(), tmp_path / "CUB_200_2011"))
    train, test = imbalanced_cub_indices(cub)  # classes 1 and 3, two images each
    assert (train.tolist(), test.tolist()) == ([0, 2], [1, 3])


@real_cub
def test_the_imbalanced_half_of_cub_50():
    cub = CUB(DATA / "CUB_200_2011_c50_s224.tar")
    train, test = imbalanced_cub_indices(cub)
    assert torch.bincount(cub.targets[train]).tolist() == [10, 30] * 25
    assert (len(train), len(test)) == (1000, 1389)
    assert len(imbalanced_cub_indices(cub, cut_test=True)[1]) == 496
