"""Scenes with one or several handwritten digits, distractors, and known boxes and masks."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate

FRAGMENT = 5  # pixels of a distractor's side
CLASSES = 10


def digits(
    split: Literal["train", "test"], *, seed: int = 0
) -> tuple[Float[Tensor, "samples 1 8 8"], Int[Tensor, " samples"]]:
    """The 1,797 handwritten digits that come with scikit-learn, in [0, 1].

    Two thirds train (1,198), one third test (599), split at random by `seed`; nothing is
    downloaded.
    """
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(seed))
    cut = 2 * len(order) // 3
    chosen = {"train": order[:cut], "test": order[cut:]}[split]
    images = torch.from_numpy(bunch.images).float()[:, None] / 16
    return images[chosen], torch.from_numpy(bunch.target).long()[chosen]


@dataclass(frozen=True)
class Scenes:
    """Images with one labelled object each, and where it is.

    Attributes:
        images: In [0, 1], shape (samples, channels, height, width).
        targets: Class of the object, shape (samples,).
        boxes: Its bounding box in pixels, x0 y0 x1 y1 with x1 and y1 exclusive, shape
            (samples, 4).
        masks: Its pixels, shape (samples, height, width); the box is tight around them.

    """

    images: Float[Tensor, "samples channels height width"]
    targets: Int[Tensor, " samples"]
    boxes: Float[Tensor, "samples 4"]
    masks: Bool[Tensor, "samples height width"]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class MultiScenes:
    """Images with several labelled objects of different classes, and where they are.

    Where scenes hold different numbers of objects, missing ones have target -1, the box 0 0 0 0
    and an empty mask.

    Attributes:
        images: In [0, 1], shape (samples, channels, height, width).
        targets: Class of each object, shape (samples, objects).
        boxes: Bounding boxes in pixels, x0 y0 x1 y1 with x1 and y1 exclusive, shape
            (samples, objects, 4).
        masks: Pixels of each object, shape (samples, objects, height, width); no two objects of a
            scene share one, nor do their boxes overlap.
        labels: 1 for each class that is in the scene, else 0: targets of a binary cross-entropy,
            shape (samples, classes).

    """

    images: Float[Tensor, "samples channels height width"]
    targets: Int[Tensor, "samples objects"]
    boxes: Float[Tensor, "samples objects 4"]
    masks: Bool[Tensor, "samples objects height width"]
    labels: Float[Tensor, "samples classes"]

    def __len__(self) -> int:
        return len(self.targets)


class _Painter:
    """Draws from a generator and paints on one image after another."""

    def __init__(self, split: Literal["train", "test"], size: int, generator: torch.Generator):
        self.glyphs, self.labels = digits(split)
        self.size, self.generator = size, generator

    def integer(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self.generator))

    def place(self, side: int) -> tuple[int, int]:
        return self.integer(self.size - side + 1), self.integer(self.size - side + 1)

    def fragments(self, image: Float[Tensor, "1 size size"], count: int) -> None:
        """Scatter small patches cut from the middle of digits."""
        if count and self.size < FRAGMENT:
            raise ValueError(f"distractors need size >= {FRAGMENT}, got size={self.size}")
        for _ in range(count):
            glyph = self.glyphs[self.integer(len(self.glyphs))][None]
            patch = interpolate(glyph, (16, 16), mode="bilinear")[0]
            x, y = self.place(FRAGMENT)
            _paint(image, patch[:, 6 : 6 + FRAGMENT, 6 : 6 + FRAGMENT], x, y)

    def digit(
        self, image: Tensor, mask: Tensor, index: int, side: int, place: tuple[int, int]
    ) -> Float[Tensor, "4"]:
        """Paint a digit, set its pixels in `mask`, and return the box around them."""
        glyph = interpolate(self.glyphs[index][None], (side, side), mode="bilinear")[0]
        x, y = place
        _paint(image, glyph, x, y)
        mask[y : y + side, x : x + side] = glyph[0] > 1 / 8
        ys, xs = mask.nonzero(as_tuple=True)
        return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()


def _paint(image: Tensor, patch: Tensor, x: int, y: int) -> None:
    side = patch.shape[-1]
    window = image[:, y : y + side, x : x + side]
    image[:, y : y + side, x : x + side] = torch.maximum(window, patch)


def digit_scenes(
    n: int,
    generator: torch.Generator,
    *,
    split: Literal["train", "test"] = "train",
    size: int = 48,
    digit_size: tuple[int, int] = (14, 24),
    distractors: int = 3,
) -> Scenes:
    """Render digits of random size and place on a noisy ground with fragments as distractors.

    Each scene holds one digit of scikit-learn's set, scaled to a random side within
    `digit_size`, and `distractors` small patches cut from digits, which tell little about the
    class. The mask holds the pixels of the digit brighter than one eighth of the full range, and
    the box encloses them.

    Raises:
        ValueError: A digit that does not fit into the scene, or n < 1.

    """
    low, high = digit_size
    if n < 1 or not 4 <= low <= high <= size or distractors < 0:
        raise ValueError(
            f"need n >= 1 and 4 <= digit sizes <= size, got n={n}, digit_size={digit_size}, "
            f"size={size}, distractors={distractors}"
        )
    painter = _Painter(split, size, generator)
    images = 0.1 * torch.rand(n, 1, size, size, generator=generator)
    targets = torch.empty(n, dtype=torch.long)
    boxes = torch.empty(n, 4)
    masks = torch.zeros(n, size, size, dtype=torch.bool)
    for i in range(n):
        painter.fragments(images[i], distractors)
        chosen, side = painter.integer(len(painter.glyphs)), low + painter.integer(high - low + 1)
        boxes[i] = painter.digit(images[i], masks[i], chosen, side, painter.place(side))
        targets[i] = painter.labels[chosen]
    return Scenes(images, targets, boxes, masks)


def multi_digit_scenes(
    n: int,
    generator: torch.Generator,
    digits: int | tuple[int, int] = 2,
    *,
    split: Literal["train", "test"] = "train",
    size: int = 64,
    digit_size: tuple[int, int] = (14, 24),
    distractors: int = 3,
) -> MultiScenes:
    """Render scenes with several digits of different classes that do not overlap.

    As :func:`digit_scenes`, with more than one digit: each class is as likely as any other, the
    squares in which the digits are drawn are disjoint and within the image, and fragments may lie
    under them.

    Args:
        n: Number of scenes.
        generator: Source of all that is random.
        digits: How many digits a scene holds, or the least and the most of a number drawn
            uniformly.
        split: Digits to draw.
        size: Side of a scene.
        digit_size: Least and greatest side of a digit.
        distractors: Fragments a scene.

    Raises:
        ValueError: More digits than classes, or than squares of the greatest side that fit beside
            and above each other; n < 1; no digits.

    """
    least, most = (digits, digits) if isinstance(digits, int) else digits
    low, high = digit_size
    if n < 1 or not 4 <= low <= high or distractors < 0:
        raise ValueError(
            f"need n >= 1 and 4 <= digit sizes, got n={n}, digit_size={digit_size}, "
            f"size={size}, distractors={distractors}"
        )
    if not 1 <= least <= most <= CLASSES:
        raise ValueError(f"need 1 to {CLASSES} digits of different classes, got digits={digits}")
    if most > (size // high) ** 2:
        raise ValueError(
            f"{most} digits of up to {high} pixels need a scene of at least "
            f"{high * math.ceil(math.sqrt(most))} pixels, got size={size}"
        )
    painter = _Painter(split, size, generator)
    members = [(painter.labels == k).nonzero().flatten() for k in range(CLASSES)]
    images = 0.1 * torch.rand(n, 1, size, size, generator=generator)
    targets = torch.full((n, most), -1)
    boxes = torch.zeros(n, most, 4)
    masks = torch.zeros(n, most, size, size, dtype=torch.bool)
    labels = torch.zeros(n, CLASSES)
    for i in range(n):
        painter.fragments(images[i], distractors)
        count = least + painter.integer(most - least + 1)
        classes = torch.randperm(CLASSES, generator=generator)[:count].tolist()
        sides = [low + painter.integer(high - low + 1) for _ in classes]
        places = _disjoint_places(painter, sides)
        for j, (k, side, place) in enumerate(zip(classes, sides, places, strict=True)):
            chosen = int(members[k][painter.integer(len(members[k]))])
            boxes[i, j] = painter.digit(images[i], masks[i, j], chosen, side, place)
            targets[i, j], labels[i, k] = k, 1
    return MultiScenes(images, targets, boxes, masks, labels)


def _disjoint_places(painter: _Painter, sides: list[int]) -> list[tuple[int, int]]:
    """Upper left corners of disjoint squares: uniform, given that they are disjoint.

    Where that is so unlikely that fifty attempts fail, each square takes a random place in a cell
    of a grid of its own.
    """
    for _ in range(50):
        places = [painter.place(side) for side in sides]
        squares = list(zip(places, sides, strict=True))
        if all(
            abs(2 * x + a - 2 * u - b) >= a + b or abs(2 * y + a - 2 * v - b) >= a + b
            for i, ((x, y), a) in enumerate(squares)
            for (u, v), b in squares[:i]
        ):
            return places
    grid = math.ceil(math.sqrt(len(sides)))
    cell = painter.size // grid
    cells = torch.randperm(grid * grid, generator=painter.generator)[: len(sides)].tolist()
    free = [cell - side + 1 for side in sides]
    return [
        (c % grid * cell + painter.integer(f), c // grid * cell + painter.integer(f))
        for c, f in zip(cells, free, strict=True)
    ]
