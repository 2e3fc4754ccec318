"""Networks: shapes, parameter counts, the published checkpoints, frozen backbones."""

import io
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from softmi import GaussianClasses, class_activation_map, mutual_information
from softmi.datasets import cifar10, sha256
from softmi.maps import ActivationMaps
from softmi.models import (
    MLP,
    AttentionDropout,
    Backbone,
    CifarResNet,
    GAPNet,
    LeNet,
    mobilenet_v2_features,
    resnet50_wsol,
    squeezenet1_1_features,
    vgg16_gap,
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


# --- Backbones --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_with_checkpoint(tmp_path_factory) -> Path:
    """A data folder with an untrained MobileNetV2 under the checkpoint's name."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "checkpoints").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = torchvision.models.mobilenet_v2()
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


# --- Residual networks for CIFAR ---------------------------------------------------------------


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


# --- Localisation: ADL, VGG16-GAP and ResNet-50 with a fine last stage ---------------------------

# Two channels on 2 x 2 cells: attention (1, 2 / 3, 4), its maximum 4.
ADL_INPUT = torch.tensor([[[[2.0, 4.0], [0.0, 5.0]], [[0.0, 0.0], [6.0, 3.0]]]])


@pytest.mark.paper("choe2019", "ADL")
@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(0.8, [[1, 1], [1, 0]]), (0.75, [[1, 1], [0, 0]]), (0.3, [[1, 0], [0, 0]]),
     (0.0, [[0, 0], [0, 0]]), (1.0, [[1, 1], [1, 0]])],
)  # fmt: skip
def test_attention_dropout_hides_the_most_attended_cells_by_hand(threshold, kept):
    layer = AttentionDropout(drop_rate=1.0, threshold=threshold)  # "below" is strict: 3 < 3 not
    assert torch.equal(layer(ADL_INPUT), ADL_INPUT * torch.tensor(kept))


@pytest.mark.paper("choe2019", "ADL")
def test_attention_dropout_else_weighs_cells_by_their_importance_by_hand():
    layer = AttentionDropout(drop_rate=0.0)
    importance = 1 / (1 + torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]).exp())
    torch.testing.assert_close(layer(ADL_INPUT), ADL_INPUT * importance)


def test_attention_dropout_takes_the_maximum_of_each_image_and_one_draw_for_the_batch():
    batch = torch.cat([ADL_INPUT, 100 * ADL_INPUT])
    layer = AttentionDropout()
    hidden = 0
    for _ in range(400):
        found = layer(batch)
        dropped = [bool((one[:, 1, 1] == 0).all()) for one in found]
        assert dropped[0] == dropped[1]
        hidden += dropped[0]
    # Binomial of rate 0.75: five standard errors.
    assert abs(hidden / 400 - 0.75) < 5 * (0.75 * 0.25 / 400) ** 0.5


def test_attention_dropout_follows_torchs_seed_and_does_nothing_in_evaluation():
    layer = AttentionDropout(0.5)

    def draws(seed: int) -> list[bool]:
        torch.manual_seed(seed)
        return [bool(layer(ADL_INPUT)[0, 0, 1, 1] == 0) for _ in range(20)]

    assert draws(3) == draws(3) != draws(4)
    before = torch.get_rng_state()
    assert layer.eval()(ADL_INPUT) is ADL_INPUT
    assert torch.equal(torch.get_rng_state(), before)


def test_attention_dropout_keeps_dtype_and_lets_gradients_through_what_is_kept():
    layer = AttentionDropout(1.0)
    x = ADL_INPUT.clone().to(torch.bfloat16).requires_grad_()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 1], [1, 0]]
    assert "drop_rate=1.0, threshold=0.8" in repr(layer)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("options", [{"drop_rate": 1.5}, {"threshold": -0.1}])
def test_attention_dropout_refuses_what_is_no_share(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, got {value}"):
        AttentionDropout(**options)


@pytest.fixture(scope="module", params=[vgg16_gap, resnet50_wsol], ids=lambda f: f.__name__)
def localiser(request):
    """Each network plain, then twice with ADL: the second is not to be changed by the first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [request.param(7, adl).eval() for adl in (False, True, True)]


def places(network: nn.Module) -> list[str]:
    """Names of ADL modules, each with the module before it in the same container."""
    out = []
    for name, module in network.named_modules():
        before = ""
        for key, child in module.named_children():
            if isinstance(child, AttentionDropout):
                out.append(f"{name}.{before}")
            before = key
    return out


def test_localisers_have_dropout_at_the_authors_three_places_each_time_they_are_built(localiser):
    plain, first, second = localiser
    assert places(plain) == []
    if isinstance(first, nn.Sequential):  # pool3, pool4 and ReLU 5_3
        expected, threshold = ["features.16", "features.23", "features.29"], 0.8
        kinds = [type(first.features.get_submodule(i)) for i in ("16", "23", "29")]
        assert kinds == [nn.MaxPool2d, nn.MaxPool2d, nn.ReLU]
    else:  # layer3 block 0, layer4 blocks 0 and 2
        expected, threshold = ["layer3.0", "layer4.0", "layer4.2"], 0.9
    assert places(first) == places(second) == expected
    found = [m for m in first.modules() if isinstance(m, AttentionDropout)]
    assert {(m.drop_rate, m.threshold) for m in found} == {(0.75, threshold)}


def test_localisers_share_their_state_with_and_without_dropout(localiser):
    plain, first, _ = localiser
    first.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(images), plain(images))
    head = first.fc
    assert head.weight.shape == (7, 1024 if isinstance(first, nn.Sequential) else 2048)


def test_localisers_have_maps_of_a_sixteenth_of_the_side_accounted_for_in_full(localiser):
    plain, first, _ = localiser
    for network in (plain, first):
        images = torch.randn(2, 3, 64, 48)
        with ActivationMaps(network) as look:
            seen = look(images)
        assert seen.feature_maps.shape[2:] == (4, 3)
        total = seen.maps().sum((1, 2)) + seen.offset()
        expected = seen.logits.max(1).values
        assert (total - expected).abs().max() <= 1e-5 * seen.logits.abs().max()


@pytest.mark.paper("zhou2016", "VGG16-GAP")
def test_localisers_are_torchvisions_networks_but_for_what_they_say(localiser):
    """Names and shapes of weights agree, so that published checkpoints load."""
    plain = localiser[0]
    with torch.device("meta"):
        vgg = isinstance(plain, nn.Sequential)
        peer = torchvision.models.vgg16() if vgg else torchvision.models.resnet50()
    changed = ("classifier.", "fc.", "conv6.")
    ours, theirs = ({k: v.shape for k, v in m.state_dict().items() if not k.startswith(changed)}
                    for m in (plain, peer))  # fmt: skip
    assert ours == theirs


def test_published_weights_are_asked_for_by_name_and_go_into_the_trunk(monkeypatch):
    asked = []

    def state(self, **options):
        asked.append((str(self), options))
        make = torchvision.models.vgg16 if "VGG" in str(self) else torchvision.models.resnet50
        with torch.device("meta"):
            shapes = make().state_dict()
        return {k: torch.full(v.shape, 0.5, dtype=v.dtype) for k, v in shapes.items()
                if "classifier" not in k}  # fmt: skip

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", state)
    trunk = vgg16_gap(3, True, weights="IMAGENET1K_V1")
    assert asked[-1] == ("VGG16_Weights.IMAGENET1K_V1", {"progress": False, "check_hash": True})
    assert all((p == 0.5).all() for p in trunk.features.parameters())
    assert not (trunk.conv6.weight == 0.5).any()
    network = resnet50_wsol(3, True, weights="IMAGENET1K_V1")
    assert asked[-1][0] == "ResNet50_Weights.IMAGENET1K_V1"
    assert (network.layer4[0].conv2.weight == 0.5).all()
    assert network.fc.weight.shape == (3, 2048)
