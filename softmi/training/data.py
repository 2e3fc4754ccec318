"""Data sets that hand out whole batches."""

from collections.abc import Sequence

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset


class TensorBatches(TensorDataset):
    """A `TensorDataset` that hands out a whole batch at a time: no copy sample by sample."""

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the samples of `indices`, stacked; DataLoader calls this where it exists."""
        chosen = torch.as_tensor(indices)
        return tuple(tensor[chosen] for tensor in self.tensors)


class CropsAndFlips(TensorBatches):
    """Images as :class:`softmi.training.TensorBatches`, each cropped and mirrored at random.

    The usual augmentation of CIFAR: four black pixels at each side, a crop of the original size
    at a random place, mirrored with probability one half. Images are uint8; batches come as float
    in [0, 1]. Draws from PyTorch's global generator, seeded by :func:`softmi.fit` in each epoch.

    Args:
        images: Shape (samples, channels, height, width), uint8.
        targets: Their labels, shape (samples,).
        padding: Black pixels at each side.

    """

    def __init__(
        self,
        images: UInt8[Tensor, "samples channels height width"],
        targets: Int[Tensor, " samples"],
        *,
        padding: int = 4,
    ) -> None:
        super().__init__(nn.functional.pad(images, (padding,) * 4), targets)
        self.padding = padding

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the samples of `indices`, stacked, with a fresh crop of each."""
        padded, targets = self.tensors
        chosen = torch.as_tensor(indices)
        n, size = len(chosen), 2 * self.padding
        height, width = padded.shape[2] - size, padded.shape[3] - size
        top, left = torch.randint(size + 1, (2, n, 1))
        columns = torch.arange(width).repeat(n, 1)
        mirrored = torch.rand(n, 1) < 0.5
        columns = left + torch.where(mirrored, columns.flip(1), columns)
        rows = top + torch.arange(height)
        channels = torch.arange(padded.shape[1])[:, None, None]
        crops = padded[chosen[:, None, None, None], channels, rows[:, None, :, None],
                       columns[:, None, None, :]]  # fmt: skip
        return crops.float() / 255, targets[chosen]


def loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    sampler: Sampler | None = None,
) -> DataLoader:
    """Return a DataLoader whose order depends on `seed` alone, or on `sampler`."""
    whole = isinstance(dataset, TensorBatches)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=(lambda batch: batch) if whole else None,
    )
