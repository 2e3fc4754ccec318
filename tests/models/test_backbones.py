"""Frozen backbones: their weights, scaling and padding."""

import io
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from drawn_weights import draw_batch_norms
from torch import nn

from softmi.datasets import sha256
from softmi.models import (
    Backbone,
    mobilenet_v2_features,
    squeezenet1_1_features,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def data_with_checkpoint(tmp_path_factory) -> Path:
    """A data folder with an untrained MobileNetV2 under the checkpoint's name."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "checkpoints").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = draw_batch_norms(torchvision.models.mobilenet_v2())
    torch.save(network.state_dict(), folder / "checkpoints" / "mobilenet_v2-coral_qat_dequant.pth")
    return folder


@pytest.fixture(scope="module")
def local(data_with_checkpoint) -> Backbone:
    return mobilenet_v2_features(data_with_checkpoint)


def test_backbone_is_frozen_and_says_which_weights_it_has(local, data_with_checkpoint):
    path = data_with_checkpoint / "checkpoints" / "mobilenet_v2-coral_qat_dequant.pth"
    assert (local.weights, local.checksum) == (path.stem, sha256(path))
    assert not any(m.training for m in local.module.modules())
    assert not any(p.requires_grad for p in local.module.parameters())


@pytest.mark.paper("sandler2018", "MobileNetV2")
def test_backbone_maps_are_a_32nd_of_the_side_and_do_not_depend_on_the_batch(local):
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps = local.module(images)
        assert maps.shape == (2, 1280, 2, 3)
        torch.testing.assert_close(local.module(images[1:]), maps[1:], rtol=1e-4, atol=1e-5)


def test_backbone_scales_inputs_to_plus_minus_one(local):
    normalise = local.module[0]
    assert normalise(torch.tensor([0.0, 0.5, 1.0]).expand(1, 3, 1, 3)).flatten()[:3].tolist() == (
        [-1, 0, 1]
    )


def test_strided_convolutions_are_padded_as_tensorflow_does(local):
    """SAME with a 3x3 kernel, stride 2 and an even side: one at the end, none before."""
    strided = [
        m for m in local.module.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)
    ]
    assert len(strided) == 5
    for layer in strided:
        x = torch.rand(1, layer.in_channels, 8, 8)
        expected = F.conv2d(
            F.pad(x, (0, 1, 0, 1)), layer.weight, None, stride=2, groups=layer.groups
        )
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.paper("chen2018", "atrous convolution")
@pytest.mark.parametrize("padding", ["TensorFlow's", "PyTorch's"])
def test_every_second_finer_cell_is_a_cell_of_the_trained_stride(
    padding, data_with_checkpoint, tmp_path, monkeypatch
):
    """Up to the border: with a zero at the end the odd cells, with one on each side the even."""
    data, first = data_with_checkpoint, 1
    if padding == "PyTorch's":
        path = data / "checkpoints" / "mobilenet_v2-coral_qat_dequant.pth"
        build = torchvision.models.mobilenet_v2

        def published(weights):
            network = build()
            network.load_state_dict(torch.load(path, weights_only=True))
            return network

        monkeypatch.setattr(torchvision.models, "mobilenet_v2", published)
        data, first = tmp_path, 0
    coarse, fine = (mobilenet_v2_features(data, output_stride=s) for s in (32, 16))
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        finer, maps = fine.module(images), coarse.module(images)
    assert finer.shape == (2, 1280, 6, 4)
    # The same sums in another order; maps of up to about one.
    torch.testing.assert_close(finer[:, :, first::2, first::2], maps, rtol=1e-4, atol=1e-5)
    assert fine.checksum == f"{coarse.checksum}-os16"
    assert fine.weights == coarse.weights


def test_there_are_two_ways_to_fourteen_cells(data_with_checkpoint):
    for side, output_stride, cells in ((224, 32, 7), (224, 16, 14), (448, 32, 14)):
        module = mobilenet_v2_features(data_with_checkpoint, output_stride=output_stride).module
        with torch.no_grad():
            assert module(torch.rand(1, 3, side, side)).shape == (1, 1280, cells, cells)


@pytest.mark.parametrize("output_stride", [8, 64, 0])
def test_other_strides_are_refused_before_weights_are_read(output_stride, tmp_path):
    with pytest.raises(ValueError, match="output_stride must be 32 or 16, got"):
        mobilenet_v2_features(tmp_path, output_stride=output_stride)


def test_without_the_checkpoint_the_published_weights_are_asked_for(tmp_path, monkeypatch):
    asked = {}

    def fake(weights=None):
        asked["weights"] = weights
        return torchvision.models.MobileNetV2()

    monkeypatch.setattr(torchvision.models, "mobilenet_v2", fake)
    backbone = mobilenet_v2_features(tmp_path)
    published = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2
    assert asked["weights"] == published
    assert str(published) in backbone.weights
    assert backbone.checksum in published.url
    strided = [m for m in backbone.module.modules() if getattr(m, "stride", None) == (2, 2)]
    assert all(m.padding == (1, 1) for m in strided)  # PyTorch's padding, as it was trained
    mean = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None]
    torch.testing.assert_close(backbone.module[0](mean), torch.zeros(1, 3, 1, 1))


@pytest.fixture(scope="module")
def squeezed(tmp_path_factory) -> Path:
    """A data folder with an untrained SqueezeNet under the checkpoint's name."""
    folder = tmp_path_factory.mktemp("squeezed")
    (folder / "checkpoints").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = torchvision.models.squeezenet1_1()
    torch.save(network.state_dict(), folder / "checkpoints" / SQUEEZENET)
    return folder


SQUEEZENET = "squeezenet1_1-openvino_fp16.pth"


def test_squeezenet_maps_are_those_of_torchvision_after_imagenets_scaling(squeezed):
    backbone = squeezenet1_1_features(squeezed)
    path = squeezed / "checkpoints" / SQUEEZENET
    assert (backbone.weights, backbone.checksum) == (path.stem, sha256(path))
    assert not any(m.training for m in backbone.module.modules())
    assert not any(p.requires_grad for p in backbone.module.parameters())
    network = torchvision.models.squeezenet1_1()
    network.load_state_dict(torch.load(path, weights_only=True))
    images = torch.rand(2, 3, 128, 96)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        maps = backbone.module(images)
        assert maps.shape == (2, 512, 7, 5)
        torch.testing.assert_close(maps, network.features((images - mean) / std))


def test_without_its_checkpoint_squeezenet_asks_for_the_published_weights(tmp_path, monkeypatch):
    asked = {}

    def fake(weights=None):
        asked["weights"] = weights
        return torchvision.models.SqueezeNet("1_1")

    monkeypatch.setattr(torchvision.models, "squeezenet1_1", fake)
    backbone = squeezenet1_1_features(tmp_path)
    published = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    assert asked["weights"] == published
    assert str(published) in backbone.weights
    assert backbone.checksum in published.url


@pytest.mark.parametrize("kind", ["other network", "code", "half a file", "text", "list", "nan"])
def test_a_file_that_is_no_checkpoint_of_the_network_is_refused_by_name(kind, squeezed, tmp_path):
    path = tmp_path / "checkpoints" / SQUEEZENET
    path.parent.mkdir()
    good = (squeezed / "checkpoints" / SQUEEZENET).read_bytes()
    if kind == "other network":
        torch.save(torchvision.models.resnet18().state_dict(), path)
    elif kind == "code":
        torch.save({"weights": Path}, path)  # weights_only refuses to import what it names
    elif kind == "half a file":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "text":
        path.write_text("not found")
    elif kind == "list":
        torch.save([1, 2], path)
    else:
        state = torch.load(io.BytesIO(good), weights_only=True)
        state["features.0.bias"][3] = torch.nan
        torch.save(state, path)
    message = "not finite, the first in features.0.bias" if kind == "nan" else "of squeezenet1_1"
    with pytest.raises(ValueError, match=message) as error:
        squeezenet1_1_features(tmp_path)
    assert str(path) in str(error.value)
