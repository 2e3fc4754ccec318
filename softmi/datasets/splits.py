"""Which samples a split keeps: long tails, and the parts that the papers used."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from softmi.datasets.cub import CUB as CUB


def first_per_class(
    targets: Int[Tensor, " samples"], counts: Sequence[int]
) -> Int[Tensor, " kept"]:
    """Indices of the first `counts[k]` samples of each class k, in the order of the data.

    A class with fewer samples gives all it has, as in the authors' code.

    Raises:
        ValueError: Negative counts, or targets without a count.

    """
    caps = torch.as_tensor(counts)
    highest = int(targets.max()) if len(targets) else -1
    if caps.ndim != 1 or (caps < 0).any() or highest >= len(caps):
        raise ValueError(
            f"counts must be non-negative, one for each class in targets "
            f"(0 to {highest}), got {list(counts)}"
        )
    one_hot = torch.nn.functional.one_hot(targets.long(), len(caps))
    rank = (one_hot.cumsum(0) * one_hot).sum(1)  # 1 for the first of its class, 2 for the second
    return (rank <= caps[targets.long()]).nonzero().flatten()


def long_tailed_counts(
    classes: int = 10, largest: int = 5000, factor: float | int = 100
) -> list[int]:
    r"""Samples a class of the exponential long tail (Cui et al. 2019; Cao et al. 2019).

    .. math:: n_k = \lfloor n_0\, \gamma^{-k/(M-1)} \rfloor, \qquad k = 0, \dots, M - 1

    For :func:`first_per_class`; the defaults cut CIFAR-10-LT with imbalance factor 100 (12,406
    images) from CIFAR-10.

    Args:
        classes: Number of classes :math:`M`.
        largest: Samples of the first class, :math:`n_0`.
        factor: :math:`\gamma`, how many times more samples the first class has than the last.

    Raises:
        ValueError: No class, a factor below one, or one that leaves a class empty.

    Example:
        >>> long_tailed_counts()
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]

    """
    if classes < 1 or not 1 <= factor <= largest:
        raise ValueError(
            f"need classes >= 1 and 1 <= factor <= largest, got classes={classes}, "
            f"largest={largest}, factor={factor}"
        )
    return [int(largest * factor ** (-k / max(1, classes - 1))) for k in range(classes)]


def paper_mnist_indices(
    train_targets: Int[Tensor, " samples"],
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The imbalanced MNIST split of Qin et al. (2019), as indices into MNIST's train part.

    From the authors' code: of the first 40,000 images the first 300 of each even and 3,000 of
    each odd digit train (16,500); of the next 10,000 the same caps give the test part (6,559:
    300 of each even digit, all of the odd ones, since fewer than 3,000 exist).

    Raises:
        ValueError: Not the 60,000 labels of MNIST's train part.

    """
    if len(train_targets) != 60_000:
        raise ValueError(f"need MNIST's 60,000 train labels, got {len(train_targets)}")
    counts = [300, 3000] * 5
    train = first_per_class(train_targets[:40_000], counts)
    test = 40_000 + first_per_class(train_targets[40_000:50_000], counts)
    return train, test


def imbalanced_cub_indices(
    cub: CUB, *, cut_test: bool = False
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The imbalanced CUB split of Qin et al. (2019), as indices into a CUB object.

    From the authors' code: classes of odd number (1, 3, ...) keep their first 10 train images, the
    others all, which is 29 or 30: a ratio of three to one. Works on all 200 classes (3,997 train
    images) and on the first 50 (1,000).

    Args:
        cub: All of CUB-200-2011 or a subset of its classes.
        cut_test: Test on the first 5 images of odd and 15 of even classes, as the authors do,
            and not on the whole official test part.

    """
    even = torch.arange(int(cub.targets.max()) + 1) % 2 == 1  # class numbers count from one
    train = cub.is_train.nonzero().flatten()
    test = (~cub.is_train).nonzero().flatten()
    train = train[first_per_class(cub.targets[train], torch.where(even, len(cub), 10).tolist())]
    if cut_test:
        test = test[first_per_class(cub.targets[test], torch.where(even, 15, 5).tolist())]
    return train, test
