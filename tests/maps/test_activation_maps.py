"""Maps of a user's own network: found, proved complete in nats, or refused with a reason."""

import gc
import itertools
import sys
import weakref
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from softmi import class_activation_map, pointwise_mutual_information
from softmi.maps import ActivationMaps
from softmi.models import CifarResNet, GAPNet

FAMILY = (
    {"contrast": "none"},
    {"contrast": "mean"},
    {"contrast": "least"},
    {"contrast": "rivals", "rivals": 1},
    {"contrast": "rivals", "rivals": 3, "gamma": 0.6},
)
CLASSES = 7


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Images are small: threads would wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def difference(logits: torch.Tensor, classes: torch.Tensor, ranking: torch.Tensor | None = None,
               *, contrast: str, rivals: int = 3, gamma: float = 1.0) -> torch.Tensor:  # fmt: skip
    """Logit of the class less gamma times the mean logit of its contrast, image by image."""
    ranking = logits if ranking is None else ranking
    out = []
    for f, r, y in zip(logits.double(), ranking, classes.tolist(), strict=True):
        others = sorted((k for k in range(len(f)) if k != y), key=lambda k: r[k].item())
        against = {"none": [], "mean": others, "least": others[:1], "rivals": others[-rivals:]}
        rest = f[against[contrast]].mean() if against[contrast] else 0.0
        out.append(f[y] - gamma * rest)
    return torch.stack(out)


# --- The families of torchvision ---------------------------------------------------------------


def children(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return nn.Sequential(*list(model.children())[:-2])(x)


def shufflenet(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return m.conv5(m.stage4(m.stage3(m.stage2(m.maxpool(m.conv1(x))))))


def resnet(block: type[nn.Module], **options) -> nn.Module:
    """One block a stage: what the variants differ in is the width and groups of the block."""
    return models.resnet.ResNet(block, [1, 1, 1, 1], num_classes=CLASSES, **options)


def named(name: str, **options):
    return lambda: getattr(models, name)(weights=None, num_classes=CLASSES, **options)


# Name: constructor, feature maps by hand, and what has to be found as (features, head, norm).
FAMILIES = {
    "resnet": (lambda: resnet(models.resnet.BasicBlock), children, ("layer4", "fc", None)),
    "resnext": (
        lambda: resnet(models.resnet.Bottleneck, groups=32, width_per_group=4),
        children, ("layer4", "fc", None),
    ),
    "wide_resnet": (
        lambda: resnet(models.resnet.Bottleneck, width_per_group=128),
        children, ("layer4", "fc", None),
    ),
    "regnet": (named("regnet_y_400mf"), lambda m, x: m.trunk_output(m.stem(x)),
               ("trunk_output", "fc", None)),
    "shufflenet_v2": (named("shufflenet_v2_x0_5"), shufflenet, ("conv5", "fc", None)),
    "mnasnet": (named("mnasnet0_5"), lambda m, x: m.layers(x), ("layers", "classifier.1", None)),
    "googlenet": (named("googlenet", aux_logits=True, init_weights=False), None,
                  ("inception5b", "fc", None)),
    "inception": (named("inception_v3", aux_logits=False, init_weights=False), None,
                  ("Mixed_7c", "fc", None)),
    "mobilenet_v2": (named("mobilenet_v2"), lambda m, x: m.features(x),
                     ("features", "classifier.1", None)),
    "densenet": (
        lambda: models.DenseNet(12, (2, 2, 2, 2), num_classes=CLASSES),
        lambda m, x: m.features(x).relu(), ("features", "classifier", None),
    ),
    "efficientnet": (named("efficientnet_b0"), lambda m, x: m.features(x),
                     ("features", "classifier.1", None)),
    "efficientnet_v2": (
        lambda: models.EfficientNet(
            [models.efficientnet.FusedMBConvConfig(4, 3, 2, 24, 48, 1),
             models.efficientnet.MBConvConfig(4, 3, 2, 48, 64, 2)], 0.2, num_classes=CLASSES,
        ),
        lambda m, x: m.features(x), ("features", "classifier.1", None),
    ),
    "squeezenet": (named("squeezenet1_1"), lambda m, x: m.classifier[1](m.features(x)).relu(),
                   ("classifier.2", None, None)),
    "convnext": (
        lambda: models.ConvNeXt(
            [models.convnext.CNBlockConfig(32 * 2**i, 64 * 2**i if i < 3 else None, 1)
             for i in range(4)], num_classes=CLASSES,
        ),
        lambda m, x: m.features(x), ("features", "classifier.2", "classifier.0"),
    ),
    "swin": (
        lambda: models.SwinTransformer([4, 4], 32, [1, 1, 1, 1], [2, 2, 4, 4], [7, 7],
                                       num_classes=CLASSES),
        lambda m, x: m.permute(m.norm(m.features(x))), ("permute", "head", None),
    ),
}  # fmt: skip


def build(constructor) -> nn.Module:
    """A network with random weights of the usual size, drawn faster than its own initialiser."""

    def keep(tensor, *_, **__):
        return tensor

    slow = ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_", "normal_", "uniform_")
    with mock.patch.multiple(nn.init, **dict.fromkeys(slow, keep)):
        model = constructor()
    with torch.no_grad():
        for p in model.parameters():
            bound = (6 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.5
            p.uniform_(-bound, bound)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    constructor, by_hand, expected = FAMILIES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = build(constructor)
        images = torch.rand(3, 3, *((110, 110) if request.param == "inception" else (64, 64)))
    before = images.clone()
    with ActivationMaps(model) as look:
        first = look(images)
        seen = look(images)
    assert torch.equal(first.feature_maps, seen.feature_maps)  # found or known: the same
    assert torch.equal(images, before)
    return SimpleNamespace(model=model, images=images, look=look, seen=seen, by_hand=by_hand,
                           expected=expected, name=request.param)  # fmt: skip


def test_feature_maps_and_head_of_each_family_are_found(family):
    found = family.look._found
    assert (found.features, found.head, found.norm) == family.expected
    assert min(family.seen.feature_maps.shape[2:]) > 1
    with torch.no_grad():
        assert torch.equal(family.seen.logits, family.model(family.images))


def test_cells_and_offset_sum_to_the_difference_of_logits(family):
    seen, labels = family.seen, torch.tensor([0, 5, 2])
    cases = ((None, seen.logits.argmax(1)), (labels, labels))
    for (classes, chosen), options in itertools.product(cases, FAMILY):
        total = seen.maps(classes, **options).sum((1, 2)) + seen.offset(classes, **options)
        expected = difference(seen.logits, chosen, **options)
        # Float32: products and sums of some thousand terms, some of which cancel.
        assert (total - expected).abs().max() <= 1e-5 * seen.logits.abs().max()


def test_with_a_prior_they_sum_to_the_difference_of_pointwise_information(family):
    prior = torch.tensor([0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02])
    labels = torch.tensor([6, 0, 3])
    with ActivationMaps(family.model, prior=prior) as look:
        seen = look(family.images)
    pmi = pointwise_mutual_information(seen.logits, prior)
    for options in FAMILY[1:4]:
        total = seen.maps(labels, **options).sum((1, 2)) + seen.offset(labels, **options)
        expected = difference(pmi, labels, **options)
        assert (total - expected).abs().max() <= 1e-5 * max(1.0, seen.logits.abs().max())


def test_maps_are_those_of_class_activation_map_on_features_taken_by_hand(family):
    if family.by_hand is None:
        pytest.skip("no forward pass in parts")
    seen, labels = family.seen, torch.tensor([1, 4, 6])
    with torch.no_grad():
        maps = family.by_hand(family.model, family.images)
        torch.testing.assert_close(seen.feature_maps, maps)
        _, head, norm = family.expected
        weights = torch.eye(CLASSES)
        if head is not None:
            weights = family.model.get_submodule(head).weight
        for i, label in enumerate(labels):
            w = weights.double()
            if norm is not None:  # d logits / d pooled at the image's own scale
                layer, z = family.model.get_submodule(norm), maps[i].double().mean((1, 2))
                centre = torch.eye(len(z), dtype=w.dtype) - 1 / len(z)
                sigma = (z.var(correction=0) + layer.eps).sqrt()
                w = (w * layer.weight.double()) @ centre / sigma
            for options in FAMILY:
                expected = class_activation_map(
                    maps[i : i + 1].double(), w, label[None], logits=seen.logits[i : i + 1],
                    **options,
                )[0]  # fmt: skip
                found = seen.maps(labels, **options)[i]
                assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(1e-3)


def test_all_maps_of_a_family_come_from_one_forward_pass(family):
    calls = []
    handle = family.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        with ActivationMaps(family.model) as look:
            seen = look(family.images)
            for options in FAMILY:
                seen.maps(**options)
                seen.offset(**options)
    finally:
        handle.remove()
    assert len(calls) == 1


@pytest.mark.parametrize("make", [lambda: GAPNet(5, 3, 8), lambda: CifarResNet(8, 5)])
def test_our_own_networks_are_found(make):
    model = make().eval()
    images = torch.rand(4, 3, 16, 16)
    with ActivationMaps(model) as look:
        seen = look(images)
    logits, maps = model(images)
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.feature_maps, maps)
    total = seen.maps().sum((1, 2)) + seen.offset()
    torch.testing.assert_close(total, logits.max(1).values, rtol=1e-5, atol=1e-5)


# --- By hand ------------------------------------------------------------------------------------


class OneLayer(nn.Module):
    """One 1x1 convolution, the average, one linear layer; all weights integers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([0.0, 3.0]))
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, -1.0], [-1.0, 3.0]]))
            self.head.bias.copy_(torch.tensor([1.0, 2.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def one_layer(prior=None, dtype=torch.float32):
    """The image 1 2 / 3 4, its maps A = (1 2 / 3 4), (1 -1 / -3 -5), pooled 2.5 and -2."""
    with ActivationMaps(OneLayer().to(dtype).eval(), prior=prior) as look:
        return look(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=dtype))


@pytest.mark.parametrize(
    ("options", "expected", "offset"),
    [
        # class 1: (2, -1) . A; bias 2
        ({}, [[1, 5], [9, 13]], 2.0),
        # less the mean (0, 1.5) of the others: (2, -2.5) . A; 2 - (1 - 1) / 2
        ({"contrast": "mean"}, [[-0.5, 6.5], [13.5, 20.5]], 2.0),
        # less class 2, of logit -9.5: (3, -4) . A; 2 + 1
        ({"contrast": "least"}, [[-1, 10], [21, 32]], 3.0),
        # less class 0, of logit 3.5: (1, -1) . A; 2 - 1
        ({"contrast": "rivals", "rivals": 1}, [[0, 3], [6, 9]], 1.0),
        # half of it: (1.5, -1) . A; 2 - 1 / 2
        ({"contrast": "rivals", "rivals": 1, "gamma": 0.5}, [[0.5, 4], [7.5, 11]], 1.5),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_maps_of_one_layer_with_integer_weights_are_those_computed_by_hand(
    options, expected, offset, dtype
):
    seen = one_layer(dtype=dtype)
    # 2.5 + 1; 5 + 2 + 2; -2.5 - 6 - 1
    assert seen.logits.tolist() == [[3.5, 9.0, -9.5]]
    assert seen.predicted.tolist() == [1]
    assert (4 * seen.maps(**options)).tolist() == [expected]
    assert seen.offset(**options).tolist() == [offset]


def test_prior_moves_the_offset_and_ranks_by_information():
    # f - log pi: 3.5 + log 100 = 8.1, 9.0 + log 2 = 9.7, -9.5 + log(1 / 0.49) = -8.8
    seen = one_layer(prior=[0.01, 0.5, 0.49])
    nearest = seen.offset(0, contrast="rivals", rivals=1)
    expected = 1 - torch.tensor(0.01).log() - (2 - torch.tensor(0.5).log())
    assert nearest.item() == pytest.approx(expected.item(), abs=1e-6)
    # For class 1 the nearest by logits and by information is class 0, whatever the prior ...
    assert torch.equal(
        seen.maps(1, contrast="rivals", rivals=1),
        one_layer().maps(1, contrast="rivals", rivals=1),
    )
    # ... but with class 2 this rare, f_2 - log pi_2 = -9.5 + 20 = 10.5 beats 3.5 + 0.7.
    rare = torch.tensor([0.5, 0.5, 0.0]).double() + torch.tensor([0, 0, 1]) * 2e-9
    seen = one_layer(prior=rare / rare.sum(), dtype=torch.float64)
    assert (4 * seen.maps(1, contrast="rivals", rivals=1)).tolist() == [[[-1, 10], [21, 32]]]
    assert seen.predicted.tolist() == [1]  # what the network answers


def test_weights_of_a_layer_norm_are_centred_and_scaled_by_hand():
    """Pooled (1, 3): mean 2, standard deviation 1 (eps 0): z = (-1, 1) times g = (2, 1)."""

    class Normed(OneLayer):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(2, eps=0.0)
            with torch.no_grad():
                self.norm.weight.copy_(torch.tensor([2.0, 1.0]))
                self.norm.bias.copy_(torch.tensor([1.0, -1.0]))
                self.conv.weight.copy_(torch.tensor([2.0, 1.0]).view(2, 1, 1, 1))
                self.conv.bias.copy_(torch.tensor([-1.0, 2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.conv(x).mean((2, 3))))

    with ActivationMaps(Normed().eval()) as look:
        seen = look(torch.tensor([[[[0.0, 2.0]]]]))
    assert seen.feature_maps.tolist() == [[[[-1.0, 3.0]], [[2.0, 4.0]]]]
    # z = (-2 + 1, 1 - 1) = (-1, 0)
    assert seen.logits.tolist() == [[0.0, 0.0, 0.0]]
    # W g of class 1: (4, -1), less its mean 1.5: (2.5, -2.5); sigma 1: 2.5 (A_0 - A_1) / 2
    assert seen.maps(1).tolist() == [[[-3.75, -1.25]]]
    assert seen.offset(1).tolist() == [5.0]  # 2 + (2, -1) . (1, -1)


# --- Properties ---------------------------------------------------------------------------------


def network(classes: int = 5, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, classes),
    ).to(dtype).eval()  # fmt: skip


def look_once(model: nn.Module, images: torch.Tensor, **options):
    with ActivationMaps(model, **options) as look:
        return look(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_maps_of_any_dtype_are_summed_in_at_least_float32(dtype):
    images = torch.rand(3, 3, 8, 8)
    seen = look_once(network(dtype=dtype), images.to(dtype))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert seen.feature_maps.dtype == seen.logits.dtype == dtype
    for options in FAMILY:
        maps, offset = seen.maps(**options), seen.offset(**options)
        assert maps.dtype == offset.dtype == wide
        expected = difference(seen.logits, seen.predicted, **options)
        # The network rounds the average, the products and the logits to its own precision.
        scale = seen.feature_maps.double().norm(dim=1).amax() + 1
        error = (maps.sum((1, 2)) + offset - expected).abs().max()
        assert error <= 8 * torch.finfo(dtype).eps * scale


def test_images_of_a_batch_do_not_see_each_other_and_batches_of_one_work():
    model, images = network(dtype=torch.float64), torch.rand(4, 3, 8, 8, dtype=torch.float64)
    with ActivationMaps(model) as look:
        whole, alone = look(images), [look(image[None]) for image in images]
    for options in FAMILY:
        single = torch.cat([one.maps(**options) for one in alone])
        torch.testing.assert_close(single, whole.maps(**options), rtol=0, atol=1e-14)


def test_classes_are_an_integer_a_list_or_a_tensor_one_for_each_image():
    seen = look_once(network(), torch.rand(3, 3, 8, 8))
    rows = [seen.maps(k) for k in (4, 0, 2)]
    expected = torch.stack([row[i] for i, row in enumerate(rows)])
    for classes in ([4, 0, 2], torch.tensor([4, 0, 2]), torch.tensor([4, 0, 2]).to(torch.uint8)):
        torch.testing.assert_close(seen.maps(classes), expected)
    torch.testing.assert_close(seen.maps(), seen.maps(seen.logits.argmax(1)))
    assert torch.equal(seen.maps(4), seen.maps([4, 4, 4]))


@pytest.mark.parametrize("options", FAMILY[:4], ids=str)
def test_contrasts_do_not_see_what_all_classes_share_but_cam_does(options):
    """Adding v to all class weights leaves every softmax as it was: a gauge."""
    model, images = network(dtype=torch.float64), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    before = look_once(model, images)
    maps, offset = before.maps(1, **options), before.offset(1, **options)
    shared = torch.linspace(-2, 2, 8, dtype=torch.float64)
    with torch.no_grad():
        model[-1].weight += shared
        model[-1].bias += 0.75
    after = look_once(model, images)
    sees = float(options["contrast"] == "none")
    moved = torch.einsum("c,nchw->nhw", shared, before.feature_maps) / 64
    torch.testing.assert_close(after.maps(1, **options), maps + sees * moved)
    torch.testing.assert_close(after.offset(1, **options), offset + sees * 0.75)


def test_gradients_flow_where_they_are_asked_for_and_not_elsewhere():
    model, images = network(), torch.rand(2, 3, 8, 8, requires_grad=True)
    with ActivationMaps(model) as look:
        quiet, loud = look(images), look(images, gradients=True)
        with torch.no_grad():
            asked = look(images, gradients=True)
    assert not quiet.maps(contrast="mean").requires_grad
    assert not quiet.offset().requires_grad
    for seen in (loud, asked):
        total = (seen.maps(0).sum((1, 2)) + seen.offset(0)).sum()
        (found,) = torch.autograd.grad(total, images)
        (expected,) = torch.autograd.grad(model(images)[:, 0].sum(), images)
        torch.testing.assert_close(found, expected)
    quiet.maps(0).mul_(2)  # an ordinary tensor, which may be changed


def test_relu_between_module_and_average_is_taken_into_account():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(F.relu(self.conv(x)).mean((2, 3)))

    model, images = Late().eval(), torch.rand(2, 3, 8, 8)
    seen = look_once(model, images)
    torch.testing.assert_close(seen.feature_maps, model.conv(images).relu())


@pytest.mark.parametrize(
    "wrap",
    [lambda f: (f, "aside"), lambda f: [f], lambda f: {"logits": f},
     lambda f: SimpleNamespace(logits=f)],
)  # fmt: skip
def test_logits_may_come_first_in_a_tuple_or_under_their_name(wrap):
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, *, pixels: torch.Tensor) -> object:
            return wrap(self.inner(pixels))

    images = torch.rand(2, 3, 8, 8)
    model = Wrapped().eval()
    with ActivationMaps(model) as look:
        seen = look(pixels=images)
    assert torch.equal(seen.logits, model.inner(images))


@pytest.mark.parametrize(
    "head", [nn.Conv2d(8, 5, 1), nn.Conv2d(8, 5, 1, bias=False), nn.Linear(8, 5, bias=False)]
)
def test_head_may_be_a_convolution_and_need_no_bias(head):
    last = [nn.Flatten(), head] if isinstance(head, nn.Linear) else [head, nn.Flatten()]
    model = nn.Sequential(*network()[:4], nn.AdaptiveAvgPool2d(1), *last).eval()
    seen = look_once(model, torch.rand(2, 3, 8, 8))
    total = seen.maps(3).sum((1, 2)) + seen.offset(3)
    torch.testing.assert_close(total, seen.logits[:, 3], rtol=1e-5, atol=1e-6)
    assert seen.offset(3).any() == (head.bias is not None)


def test_the_finest_of_maps_with_the_same_average_are_taken():
    """Pooling by 2 before the global average changes no logit, but loses places."""
    model = nn.Sequential(*network()[:4], nn.AvgPool2d(2), *network()[4:]).eval()
    assert look_once(model, torch.rand(2, 3, 8, 8)).feature_maps.shape == (2, 8, 8, 8)


@pytest.mark.gpu
@pytest.mark.parametrize("options", FAMILY, ids=str)
def test_maps_are_the_same_on_a_gpu(options):
    model, images = network(dtype=torch.float64), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    here = look_once(model, images, prior=[0.2] * 5)
    there = look_once(model.cuda(), images.cuda(), prior=[0.2] * 5)
    assert there.maps(**options).is_cuda
    for name in ("maps", "offset"):
        found, expected = (getattr(seen, name)([1, 0, 4], **options) for seen in (there, here))
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_real_networks_are_accounted_for_on_a_gpu_in_any_precision(dtype):
    images = torch.rand(4, 3, 64, 64, device="cuda")
    for name in ("resnet", "convnext", "squeezenet", "densenet"):
        model = build(FAMILIES[name][0]).cuda()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            assert look_once(model, images).maps(contrast="mean").dtype == torch.float32
        seen = look_once(model.to(dtype), images.to(dtype))
        assert seen.maps(contrast="mean").isfinite().all()


def test_autocast_is_accounted_for_and_rounds_no_map():
    with torch.autocast("cpu", torch.bfloat16):
        seen = look_once(network(), torch.rand(2, 3, 8, 8))
        inside = seen.maps(contrast="mean")
    assert seen.logits.dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    assert torch.equal(inside, seen.maps(contrast="mean"))


# --- Nothing is left on the model --------------------------------------------------------------


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
               for m in model.modules())  # fmt: skip


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.error is not None:
            raise self.error
        return x


@pytest.mark.parametrize("error", [None, ValueError("bad"), KeyboardInterrupt()])
@pytest.mark.parametrize("known", [False, True], ids=["first call", "later call"])
def test_no_hook_is_left_after_success_exception_or_interrupt(error, known):
    fails = Fails()
    model = nn.Sequential(*network()[:6], fails, *network()[6:]).eval()
    kept = model[1].register_forward_hook(lambda *_: None)  # the user's own
    before = {name: dict(vars(m)) for name, m in model.named_modules()}
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.rand(2, 3, 8, 8)
    with ActivationMaps(model) as look:
        if known:
            look(images)
        fails.error = error
        if error is None:
            look(images)
        else:
            with pytest.raises(type(error)):
                look(images)
        assert hooks(model) == 1  # also within the block
        fails.error = None
    assert hooks(model) == 1
    kept.remove()
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    for name, module in model.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert not any(p.grad is not None for p in module.parameters())


def test_hooks_are_gone_after_an_exception_in_the_block():
    model = network()

    def block() -> None:
        nonlocal look
        with ActivationMaps(model) as look:
            look(torch.rand(1, 3, 8, 8))
            raise ZeroDivisionError

    look = None
    with pytest.raises(ZeroDivisionError):
        block()
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="with ActivationMaps"):
        look(torch.rand(1, 3, 8, 8))


@pytest.mark.usefixtures("no_shape_checks")
def test_a_thousand_calls_do_not_grow_memory():
    model, images = network(), torch.rand(2, 3, 8, 8)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    def calls(n: int) -> None:
        for i in range(n):
            if i % 10 == 0:  # as good as new: finds everything again
                look._found = None
            look(images).maps(contrast="mean")

    with ActivationMaps(model) as look:
        calls(20)
        before = tensors()
        blocks = sys.getallocatedblocks()
        calls(1000)
        assert tensors() == before
        # Objects of Python that are alive: one a call would be a thousand.
        assert sys.getallocatedblocks() - blocks < 200
    assert hooks(model) == 0


def test_first_call_holds_no_more_than_a_few_outputs():
    """A deep network: an activation of each layer at once would be what training costs."""
    alive, most = set(), 0

    class Count(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal most
            y = x + 1
            key = id(y)
            alive.add(key)
            weakref.finalize(y, alive.discard, key)
            most = max(most, len(alive))
            return y

    model = nn.Sequential(*(Count() for _ in range(100)), *network()).eval()
    look_once(model, torch.rand(1, 3, 8, 8))
    assert most <= 20


def test_blocks_can_be_nested_and_used_again_but_not_twice_at_once():
    model, images = network(), torch.rand(2, 3, 8, 8)
    maps = ActivationMaps(model)
    with pytest.raises(RuntimeError, match="with ActivationMaps"):
        maps(images)
    with maps as look, ActivationMaps(model) as other:
        assert torch.equal(look(images).maps(), other(images).maps())
        with pytest.raises(RuntimeError, match="in use already"), maps:
            pass
        look(images)  # the failed attempt has closed nothing
    with maps as look:
        look(images)
    assert hooks(model) == 0


def test_weights_are_read_at_each_call():
    model, images = network(), torch.rand(2, 3, 8, 8)
    with ActivationMaps(model) as look:
        look(images)
        model[-1] = nn.Linear(8, 9).eval()
        seen = look(images)
    torch.testing.assert_close(seen.maps(8).sum((1, 2)) + seen.offset(8), seen.logits[:, 8])


def test_a_first_batch_of_zeros_settles_nothing():
    """Nothing is known from it: two modules account for zeros equally well."""
    first, last = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
    model = nn.Sequential(first, last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    images = torch.rand(2, 3, 4, 4)
    with ActivationMaps(model.eval()) as look:
        look(torch.zeros_like(images))
        seen = look(images)
    torch.testing.assert_close(seen.feature_maps, last(first(images)))


# --- By name ------------------------------------------------------------------------------------


def test_modules_can_be_taken_by_name():
    model, images = network(), torch.rand(2, 3, 8, 8)
    expected = look_once(model, images).maps()
    for options in ({"features": "3"}, {"head": "7"}, {"features": "3", "head": "7"}):
        assert torch.equal(look_once(model, images, **options).maps(), expected)
    squeeze = build(FAMILIES["squeezenet"][0])
    pictures = torch.rand(2, 3, 64, 64)
    expected = look_once(squeeze, pictures).maps()
    for options in ({"features": "classifier.1"}, {"head": "classifier.1"}):
        assert torch.equal(look_once(squeeze, pictures, **options).maps(), expected)
    # A single cell, if that is what is wanted.
    assert look_once(model, images, features="4").maps().shape == (2, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "1"}, r"last feature maps are of '1', of shape \(2, 6, 8, 8\); .*'7'"),
        ({"features": "7"}, "module '7' puts out no feature maps"),
        ({"head": "2"}, "no linear layer or 1x1 convolution named '2' puts out the 5 logits"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        look_once(network(), torch.rand(2, 3, 8, 8), **options)


def test_a_name_that_is_not_there_is_refused_with_those_near_it():
    model = build(FAMILIES["resnet"][0])
    with pytest.raises(ValueError, match=r"no module features='layer_4'; near it.*'layer4'"):
        ActivationMaps(model, "layer_4")
    with pytest.raises(ValueError, match="no module head='classifier'; near it"):
        ActivationMaps(model, head="classifier")


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constructor", "side", "found"),
    [
        (named("mobilenet_v3_small"), 64,
         r"MobileNetV3: .*'features', of shape \(2, 576, 2, 2\); the head is 'classifier.3' "
         r"\(Linear, 1024 to 7\); between them avgpool.*classifier.1 \(Hardswish\).*"
         r"nn.Linear\(576, 7\)"),
        (lambda: nn.Sequential(models.vgg11().features, nn.Flatten(), nn.Linear(2048, 16),
                               nn.ReLU(), nn.Linear(16, 7)), 64,
         r"'0', of shape \(2, 512, 2, 2\); the head is '4' .* 2 \(Linear\), 3 \(ReLU\)"),
        (lambda: nn.Sequential(models.vgg11().features, nn.Flatten(), nn.Linear(2048, 7)), 64,
         r"the head is '2' \(Linear, 2048 to 7\); between them 1 \(Flatten\)"),
        (lambda: models.VisionTransformer(32, 16, 1, 2, 24, 32, num_classes=7), 32,
         r"VisionTransformer: .*'conv_proj', of shape \(2, 24, 2, 2\).*encoder.ln \(LayerNorm\)"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
                               nn.Linear(8, 7)), 8, "AdaptiveMaxPool2d"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), 8,
         "no module puts out feature maps of shape"),
        (lambda: nn.Sequential(network(7), nn.Softmax(1)), 8, "puts out the 7 logits"),
    ],
    ids=["mobilenet_v3", "vgg", "flattened", "vit", "max", "no maps", "softmax"],
)  # fmt: skip
def test_a_head_that_is_not_linear_in_the_average_is_refused_with_what_was_found(
    constructor, side, found
):
    model = build(constructor)
    with pytest.raises(ValueError, match=found) as caught:
        look_once(model, torch.rand(2, 3, side, side))
    assert "not a linear function of the average of feature maps" in str(caught.value)
    assert "ActivationMaps(model, features=..., head=...)" in str(caught.value)
    assert hooks(model) == 0


def test_a_layer_that_only_looks_linear_is_refused_by_the_numbers():
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model = nn.Sequential(*network()[:7], Doubled(8, 5)).eval()
    with pytest.raises(ValueError, match="not a linear function"):
        look_once(model, torch.rand(2, 3, 8, 8))


def test_maps_of_one_cell_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"single cell .*'layer4'.* larger images .*='layer4'\)"):
        look_once(build(FAMILIES["resnet"][0]), torch.rand(2, 3, 32, 32))


def test_a_later_batch_that_is_pooled_otherwise_is_refused():
    class Corner(OneLayer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x)[..., :4, :4].mean((2, 3)))

    with ActivationMaps(Corner().eval()) as look:
        look(torch.rand(1, 1, 4, 4))
        with pytest.raises(ValueError, match=r"'conv'.*\(1, 2, 6, 6\).* this size too"):
            look(torch.rand(1, 1, 6, 6))


def test_a_later_batch_whose_maps_have_other_channels_than_the_head_is_refused():
    class Widening(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = super().forward(x)
            return maps if x.shape[-1] == 4 else torch.cat([maps, maps], 1)

    class Cut(OneLayer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x)[:, :2].mean((2, 3)))

    model = Cut()
    model.conv = Widening(1, 2, 1)
    with ActivationMaps(model.eval()) as look:
        look(torch.rand(1, 1, 4, 4))
        with pytest.raises(ValueError, match=r"'conv', shape \(1, 4, 6, 6\).* do not account"):
            look(torch.rand(1, 1, 6, 6))


def test_a_later_batch_that_goes_another_way_is_refused():
    class Fork(OneLayer):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            way = self.conv if x.shape[-1] == 4 else self.other
            return self.head(way(x).mean((2, 3)))

    with ActivationMaps(Fork().eval()) as look:
        look(torch.rand(1, 1, 4, 4))
        with pytest.raises(ValueError, match="module 'conv' put out no feature maps for this"):
            look(torch.rand(1, 1, 6, 6))


@pytest.mark.parametrize("part", [slice(None), slice(6, 7)], ids=["model", "dropout"])
def test_training_mode_is_refused_and_kept(part):
    model = network()
    for module in model[part]:
        module.train()
    with ActivationMaps(model) as look:
        with pytest.raises(ValueError, match=r"training mode \(.*\).*call model.eval\(\)"):
            look(torch.rand(2, 3, 8, 8))
        assert model[6].training
        assert hooks(model) == 0


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        (5, ValueError, r"\[0, 5\) for 5 classes, got .* 5 to 5"),
        (-1, ValueError, "from -1 to -1"),
        ([0], ValueError, r"shape \(2,\).*got shape \(1,\)"),
        ([[0, 1]], ValueError, r"got shape \(1, 2\)"),
        (0.5, TypeError, "integer class indices.*float32"),
        (True, TypeError, "integer class indices.*bool"),
        (torch.zeros(2), TypeError, "integer class indices.*float32"),
    ],
)
def test_bad_classes_are_refused_by_maps_and_offset(classes, error, message):
    seen = look_once(network(), torch.rand(2, 3, 8, 8))
    for method in (seen.maps, seen.offset):
        with pytest.raises(error, match=message):
            method(classes, contrast="mean")


@pytest.mark.usefixtures("no_shape_checks")
def test_other_bad_input_is_refused_with_what_came_in():
    images = torch.rand(2, 3, 8, 8)
    seen = look_once(network(), images)
    for method in (seen.maps, seen.offset):
        with pytest.raises(ValueError, match=r"one of .*'rivals'.* got 'max'"):
            method(contrast="max")
        with pytest.raises(ValueError, match="between 1 and 4, got 5"):
            method(contrast="rivals", rivals=5)
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got function"):
        ActivationMaps(lambda x: x)
    with pytest.raises(ValueError, match="prior must sum to 1"):
        ActivationMaps(network(), prior=[0.5, 0.6])
    with pytest.raises(ValueError, match="prior must be positive"):
        ActivationMaps(network(), prior=[0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match="prior has 2 entries, but there are 5 classes"):
        look_once(network(), images, prior=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"logits must be finite: 5 of 10 .*\(1, 0\) is nan"):
        look_once(network(), torch.stack([images[0], images[0] * float("nan")]))
    with pytest.raises(ValueError, match="holds no samples"):
        look_once(network(), images[:0])
    with pytest.raises(ValueError, match=r"logits must have shape \(samples, classes\)"):
        look_once(network()[:4].eval(), images)
    nothing = nn.Identity().eval()
    nothing.forward = lambda x: None
    with pytest.raises(TypeError, match=r"must return logits.* got NoneType"):
        look_once(nothing, images)


def test_a_constant_image_has_a_defined_map():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(4, 3)).eval()  # fmt: skip
    maps = look_once(model, torch.ones(1, 3, 4, 4)).maps(0, contrast="mean")
    torch.testing.assert_close(maps, maps[:, :1, :1].expand(1, 4, 4))
