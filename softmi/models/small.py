"""Small networks, trained from nothing."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class MLP(nn.Module):
    """The authors' network for the synthetic task: D-100-100-100-M with ReLU.

    Layers are named as in the checkpoints that they released, which load into it.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 100) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, hidden)
        self.fc4 = nn.Linear(hidden, classes)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch classes"]:
        """Return logits."""
        for layer in (self.fc1, self.fc2, self.fc3):
            x = F.relu(layer(x))
        return self.fc4(x)


class LeNet(nn.Module):
    """The authors' MNIST network: 5x5 convolutions of 20 and 50 channels, then 500, then M.

    Works on any square image of at least 16 pixels; 28 gives the paper's 800-500-10 head.
    """

    def __init__(self, side: int = 28, classes: int = 10) -> None:
        super().__init__()
        if side < 16:
            raise ValueError(f"images must be at least 16 pixels wide, got {side}")
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        after = ((side - 4) // 2 - 4) // 2
        self.fc1 = nn.Linear(50 * after * after, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch classes"]:
        """Return logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class GAPNet(nn.Module):
    """A small convolutional network with global average pooling and a linear head.

    Four 3x3 convolutions with batch normalisation, two of them followed by pooling: maps have a
    quarter of the image's side. What class activation maps need and little more.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 32) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.features = nn.Sequential(
            *block(channels, width),
            nn.MaxPool2d(2),
            *block(width, 2 * width),
            nn.MaxPool2d(2),
            *block(2 * width, 2 * width),
            *block(2 * width, 2 * width),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch features h w"]]:
        """Return logits and the feature maps before pooling."""
        maps = self.features(x)
        return self.head(maps.mean(dim=(2, 3))), maps


class CifarResNet(nn.Module):
    """The residual network of He et al. (2016) for 32x32 images, of 6n + 2 layers.

    Three stages of n blocks with 16, 32 and 64 channels; shortcuts without parameters (their
    option A: every second pixel, new channels zero). Layers are named as in the widely used
    checkpoints of Idelbayev's implementation, which load into it.

    Args:
        depth: 20, 32, 44, 56, 110, ...
        classes: Number of classes.

    Raises:
        ValueError: A depth that is not 6n + 2.

    """

    def __init__(self, depth: int = 32, classes: int = 10) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 2, such as 20, 32 or 56, got {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            past = (1, None) if inputs == outputs else (2, _Shortcut())
            first = BasicBlock(inputs, outputs, *past)
            return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))

        self.layer1, self.layer2, self.layer3 = stage(16, 16), stage(16, 32), stage(32, 64)
        self.linear = nn.Linear(64, classes)

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch 64 h w"]]:
        """Return logits and the feature maps before pooling."""
        x = F.relu(self.bn1(self.conv1(x)))
        maps = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(maps.mean(dim=(2, 3))), maps


class _Shortcut(nn.Module):
    """Past a block of stride 2 that doubles the channels: every other pixel, padded by zeros."""

    def forward(self, x: Tensor) -> Tensor:
        new = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, new, new))
