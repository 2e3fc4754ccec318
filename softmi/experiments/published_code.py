r"""What the authors' localisation code computes, as functions, so that its effect can be measured.

Only for the audit in chapter 08: nothing else in the library uses them. The numbers that one wants
are :class:`softmi.LocalizationAccuracy` and :func:`softmi.box_iou`.
"""

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor


def mean_of_running_means(
    hits: Bool[Tensor, " images"] | Num[Tensor, " images"], batch_size: int
) -> float:
    r"""Number that the authors' evaluation prints for GT-known and Top-1 (`util_eval.py`).

    After each batch the share of hits *so far* goes into a meter that averages, weighted by the
    size of the batch:

    .. math:: \frac{1}{N} \sum_{b} n_b \, \frac{1}{N_b} \sum_{i \le N_b} h_i

    with hits :math:`h_i`, batches of :math:`n_b` images and :math:`N_b` images up to and with
    batch b. An image at position t of the list, as a share of its length, weighs about
    :math:`-\log t` where it should weigh 1: the first tenth of a long list has a third of the
    weight, the last tenth less than a hundredth.

    Args:
        hits: Right or not, in the order of the list.
        batch_size: Images in a batch.

    Raises:
        ValueError: No images, or a batch size below 1.

    """
    return float(weights_of_running_means(len(hits), batch_size) @ hits.double()) / len(hits)


def weights_of_running_means(images: int, batch_size: int) -> Float[Tensor, " images"]:
    r"""Weight of each image in :func:`mean_of_running_means`; their mean is 1.

    .. math:: w_i = \sum_{b \ge b(i)} \frac{n_b}{N_b}

    with :math:`b(i)` the batch of image i, and :math:`n_b`, :math:`N_b` as there.
    """
    if images < 1 or batch_size < 1:
        raise ValueError(f"need images and a batch size, got {images} and {batch_size}")
    sizes = torch.tensor(
        [min(batch_size, images - start) for start in range(0, images, batch_size)]
    ).double()
    later = (sizes / sizes.cumsum(0)).flip(0).cumsum(0).flip(0)
    return later.repeat_interleave(sizes.long())


def unclamped_iou(
    a: Num[Tensor, "*#batch 4"], b: Num[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch"]:
    r"""Intersection over union as in the authors' `util_bbox.py`: sides are not clamped at zero.

    .. math:: \frac{w h}{|A| + |B| - w h}, \qquad
              w = \min(x_1, x_1') - \max(x_0, x_0') + 1

    and h likewise, for boxes that include their last pixel. Two boxes that are apart in both axes
    have w, h < 0 and so a positive product. :func:`softmi.box_iou` is the right one.
    """
    a, b = a.double(), b.double()
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + 1
    overlap = sides.prod(-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(-1) for box in (a, b)]
    return overlap / (areas[0] + areas[1] - overlap)
