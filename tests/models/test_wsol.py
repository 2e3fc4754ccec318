"""Networks of weakly supervised localisation: attention dropout, and maps of a sixteenth."""

import pytest
import torch
import torchvision
from torch import nn

from softmi.maps import ActivationMaps
from softmi.models import (
    AttentionDropout,
    resnet50_wsol,
    vgg16_gap,
)


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


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
