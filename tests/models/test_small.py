"""Small networks: the authors' layers and parameter counts."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from softmi import GaussianClasses, class_activation_map, mutual_information
from softmi.datasets import cifar10
from softmi.models import (
    MLP,
    CifarResNet,
    GAPNet,
    LeNet,
)

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


CHECKPOINTS = DATA / "authors_mi_checkpoints"


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("inputs", [1, 10])
def test_mlp_is_the_authors_network(inputs):
    network = MLP(inputs, 5)
    # D-100-100-100-5 with biases.
    assert size(network) == (inputs + 1) * 100 + 2 * 101 * 100 + 101 * 5
    assert network(torch.zeros(3, inputs)).shape == (3, 5)
    names = {f"fc{i}.{part}" for i in (1, 2, 3, 4) for part in ("weight", "bias")}
    assert set(network.state_dict()) == names


def test_mlp_is_linear_layers_with_relu_between():
    network = MLP(2, 3, hidden=4)
    x = torch.randn(5, 2)
    h = x
    for i in (1, 2, 3):
        layer = getattr(network, f"fc{i}")
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(network(x), h @ network.fc4.weight.T + network.fc4.bias)


def test_lenet_is_the_authors_network():
    network = LeNet()
    # conv 5x5 1-20, conv 5x5 20-50, 800-500, 500-10.
    assert size(network) == 26 * 20 + 501 * 50 + 801 * 500 + 501 * 10 == 431_080
    assert network.fc1.in_features == 800
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("side", [16, 17, 20, 32])
def test_lenet_takes_other_square_images(side):
    assert LeNet(side, classes=3)(torch.zeros(2, 1, side, side)).shape == (2, 3)


def test_lenet_refuses_images_that_its_pooling_would_empty():
    with pytest.raises(ValueError, match="at least 16 pixels wide, got 15"):
        LeNet(15)


@pytest.mark.parametrize(("channels", "side"), [(1, 48), (3, 32)])
def test_gapnet_gives_logits_and_maps_of_a_quarter_of_the_side(channels, side):
    network = GAPNet(7, channels, width=8).eval()
    logits, maps = network(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert maps.shape == (2, 16, side // 4, side // 4)
    assert (maps >= 0).all()


def test_gapnet_logits_are_the_sums_of_its_activation_maps_plus_bias():
    network = GAPNet(4, width=8).eval()
    with torch.no_grad():
        logits, maps = network(torch.rand(3, 1, 24, 24))
        for k in range(4):
            cells = class_activation_map(maps, network.head.weight, torch.full((3,), k))
            # float32 sums over 16 channels and 36 cells of order-one terms
            torch.testing.assert_close(
                cells.sum((1, 2)) + network.head.bias[k], logits[:, k], rtol=0, atol=1e-5
            )


@pytest.mark.skipif(
    not CHECKPOINTS.exists(), reason="SOFTMI_DATA/authors_mi_checkpoints not there"
)
@pytest.mark.parametrize(
    ("file", "dimensions", "balanced", "corrected", "nats"),
    [
        # facts/papers.md, A4, re-measured; three decimals
        ("balanced_dataset_class_net_best_lat_1", 1, True, False, 0.990),
        ("balanced_dataset_class_net_best_lat_10", 10, True, False, 1.538),
        ("imbalanced_dataset_pc_softmax_lat-1_class_net_best_emp", 1, False, True, 0.943),
        ("imbalanced_dataset_pc_softmax_lat-10_class_net_best_emp", 10, False, True, 1.339),
        (
            "imbalanced_dataset_traditional_softmax_lat-1_class_net_best_tra",
            1,
            False,
            False,
            0.992,
        ),
        (
            "imbalanced_dataset_traditional_softmax_lat-2_class_net_best_tra",
            2,
            False,
            False,
            1.196,
        ),
    ],
)
def test_released_checkpoints_load_and_carry_their_information(
    file, dimensions, balanced, corrected, nats
):
    network = MLP(dimensions, 5)
    state = torch.load(CHECKPOINTS / f"{file}.ckpt", map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    task = GaussianClasses.five_on_a_line(dimensions, balanced=balanced)
    x, y = task.sample(100_000, torch.Generator().manual_seed(0))
    with torch.no_grad():
        estimate = mutual_information(network(x), y, task.prior, prior_corrected=corrected)
    assert estimate.value == pytest.approx(nats, abs=0.001 + 4 * estimate.standard_error)
    assert estimate.value < task.mutual_information().value  # a lower bound


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_cifar_resnet_has_the_parameters_of_its_published_form(depth, parameters):
    # By hand: 9*3*16 + 2*16 at the start; a block of c channels 2*9*c*c + 4*c, of the first in a
    # wider stage 9*c*c/2 less; 65*10 in the head. He et al. round them to .27, .46, .85 million.
    n = (depth - 2) // 6
    blocks = sum(n * (18 * c * c + 4 * c) - (9 * c * c // 2) * (c > 16) for c in (16, 32, 64))
    assert size(CifarResNet(depth)) == 9 * 3 * 16 + 2 * 16 + blocks + 65 * 10 == parameters
    # Convolutions and the head: what the name counts (shortcuts have no weights).
    layers = [m for m in CifarResNet(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_cifar_resnet_gives_maps_whose_mean_the_head_reads():
    network = CifarResNet(20).eval()
    logits, maps = network(torch.randn(2, 3, 32, 32))
    assert maps.shape == (2, 64, 8, 8)
    torch.testing.assert_close(logits, network.linear(maps.mean((2, 3))))


def test_cifar_resnet_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = CifarResNet(20).layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)  # without the residual, only the shortcut is left
    x = torch.rand(1, 16, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("depth", [2, 18, 33])
def test_cifar_resnet_refuses_a_depth_that_does_not_exist(depth):
    with pytest.raises(ValueError, match=f"6n \\+ 2.*got {depth}"):
        CifarResNet(depth)


@pytest.mark.skipif(
    not (DATA / "checkpoints" / "resnet20-12fca82f.th").exists(), reason="needs SOFTMI_DATA"
)
def test_published_checkpoint_reaches_its_accuracy():
    path = DATA / "checkpoints" / "resnet20-12fca82f.th"
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = CifarResNet(20).eval()
    network.load_state_dict({k.removeprefix("module."): v for k, v in state["state_dict"].items()})
    images, labels = cifar10("test", root=DATA)
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:1_000]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images[chosen].float() / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        right = (network(x)[0].argmax(1) == labels[chosen]).double().mean()
    # Published: 92.6 %; four standard errors of 1,000 images are 3.3 points.
    assert abs(float(right) - 0.926) < 0.033
