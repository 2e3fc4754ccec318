"""The streaming estimate: that of all samples at once, whatever the batches and the processes."""

import copy
import io
import math
import pickle
from pathlib import Path

import pytest
import torch
from processes import two_processes
from slow_reference import EPS
from torch import nn
from torchmetrics import MetricCollection

from softmi import MutualInformationEstimate, mutual_information
from softmi.metrics import MutualInformation, group_accuracies

FIELDS = ("value", "standard_error", "low", "high", "label_entropy")
PRIOR = [0.1, 0.2, 0.3, 0.4]  # of the labels of `case`
SETTINGS = {
    "label frequencies": {},
    "known prior": {"prior": PRIOR},
    "prior-corrected": {"prior": PRIOR, "prior_corrected": True},
    "99 %": {"confidence": 0.99},
}
each_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def case(seed: int = 0, *, n: int = 500, classes: int = 4, scale: float = 3.0):
    """Logits in float64 that know something of skewed labels."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.arange(1.0, classes + 1)
    targets = torch.multinomial(weights, n, replacement=True, generator=generator)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(n), targets] += scale
    return logits, targets


def streamed(logits, targets, *, batch: int = 64, classes: int = 4, **setting):
    metric = MutualInformation(classes, **setting)
    for part, labels in zip(logits.split(batch), targets.split(batch), strict=True):
        metric.update(part, labels)
    return metric


def assert_same(found: MutualInformationEstimate, expected: MutualInformationEstimate, tol=1e-10):
    assert found.n_samples == expected.n_samples
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=tol), name


# --- The same number --------------------------------------------------------------------------


@each_setting
@pytest.mark.parametrize("batch", [1, 64, 300])
@pytest.mark.paper("qin2019", "softmax estimator of mutual information")
def test_equals_the_estimate_of_all_samples_for_any_batch_size(setting, batch):
    logits, targets = case(n=300)
    expected = mutual_information(logits, targets, **setting)
    assert_same(streamed(logits, targets, batch=batch, **setting).compute(), expected)


@each_setting
def test_order_of_samples_does_not_matter_even_one_class_after_the_other(setting):
    logits, targets = case(1)
    order = targets.argsort()
    expected = mutual_information(logits, targets, **setting)
    found = streamed(logits[order], targets[order], batch=50, **setting).compute()
    assert_same(found, expected)


def test_absent_classes_and_a_single_class_are_no_trouble():
    logits, targets = case(2)
    targets = targets.clamp(max=1)  # classes 2 and 3 never occur
    assert_same(streamed(logits, targets).compute(), mutual_information(logits, targets))
    one = torch.zeros_like(targets)
    assert_same(streamed(logits, one).compute(), mutual_information(logits, one))
    assert streamed(logits, one).compute().label_entropy == 0
    prior = [0.1, 0.9, 0.0, 0.0]
    for corrected in (False, True):
        setting = {"prior": prior, "prior_corrected": corrected}
        expected = mutual_information(logits, targets, **setting)
        assert_same(streamed(logits, targets, **setting).compute(), expected)


def test_a_network_of_one_class_measures_zero():
    found = streamed(torch.randn(5, 1), torch.zeros(5, dtype=torch.long), classes=1).compute()
    assert (found.value, found.standard_error, found.n_samples) == (0.0, 0.0, 5)


def test_a_single_sample_has_an_infinite_standard_error():
    logits, targets = case(n=1)
    found = streamed(logits, targets).compute()
    assert found.standard_error == math.inf
    assert found.value == pytest.approx(mutual_information(logits, targets).value, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_low_precision_logits_accumulate_in_float64(dtype):
    logits, targets = case(3)
    logits = logits.to(dtype)
    metric = streamed(logits, targets, batch=9)
    assert metric.moments.dtype == torch.float64
    assert_same(metric.compute(), mutual_information(logits, targets))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32], ids=str)
def test_labels_of_any_integer_type(dtype):
    logits, targets = case(4)
    assert_same(
        streamed(logits, targets.to(dtype)).compute(), mutual_information(logits, targets)
    )


# --- Rounding ---------------------------------------------------------------------------------


def near_minus_twenty(n: int, spread: float, seed: int = 0):
    """Two classes, and log q of the label within `spread` of -20: all of it on the wrong side."""
    generator = torch.Generator().manual_seed(seed)
    depth = 20 + spread * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)
    targets = torch.arange(n) % 2
    logits = torch.zeros(n, 2, dtype=torch.float64)
    # log softmax = -log(1 + e^gap) = -depth
    logits[torch.arange(n), 1 - targets] = torch.log(torch.expm1(depth))
    return logits, targets


@pytest.mark.parametrize("batch", [1, 17, 200])
@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
def test_a_spread_far_below_the_mean_keeps_its_digits(spread, batch):
    logits, targets = near_minus_twenty(200, spread)
    found = streamed(logits, targets, classes=2, batch=batch).compute()
    expected = mutual_information(logits, targets)
    # log q near -20 is known to 20 eps, here and there; so is each deviation from the mean, a
    # few times over: the standard deviation, sqrt(200) standard errors, differs by no more.
    tolerance = 8 * 20 * EPS / math.sqrt(200)
    assert expected.standard_error > 0.5 * spread / math.sqrt(200)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0, abs=tolerance)
    # The mean: one rounding of 20 a merge at most.
    assert found.value == pytest.approx(expected.value, rel=0, abs=200 / batch * 20 * EPS)


def test_plain_sums_of_squares_would_fail_there():
    """Why the states are centred: the textbook formula loses the standard error altogether."""
    logits, targets = near_minus_twenty(200, 1e-6)
    expected = mutual_information(logits, targets)
    log_q = expected.pointwise + math.log(0.5)
    variance = float((log_q.square().sum() - log_q.sum() ** 2 / 200) / 199)
    textbook = math.sqrt(abs(variance) / 200)
    assert abs(textbook / expected.standard_error - 1) > 1e-3
    found = streamed(logits, targets, classes=2).compute().standard_error
    assert found == pytest.approx(expected.standard_error, rel=1e-6)


def test_a_long_sum_of_equal_values_keeps_its_digits():
    """A running sum of a million tenths is off by 1e-11 of itself: the mean is taken again."""
    n = 10**6
    logits = torch.tensor([[math.log(math.expm1(0.1)), 0.0]], dtype=torch.float64).expand(n, 2)
    targets = torch.ones(n, dtype=torch.long)  # log q = -0.1, of each
    metric = MutualInformation(2, [0.5, 0.5], prior_mismatch="allow")
    metric.update(logits, targets)
    running = torch.zeros(2, dtype=torch.float64).index_add(
        0, targets, torch.full((n,), -0.1, dtype=torch.float64)
    )
    assert abs(running[1].item() / n + 0.1) > 1e-13  # why it is needed
    assert metric.moments[1, 1].item() == pytest.approx(-0.1, rel=1e-15, abs=0)


def test_a_common_offset_of_the_logits_costs_no_digits():
    logits, targets = case(5)
    logits = (logits * 2**10).round() / 2**10  # so that adding 2^30 is exact
    expected = mutual_information(logits, targets)
    assert_same(streamed(logits + 2.0**30, targets).compute(), expected, tol=1e-12)


# --- A good citizen of torchmetrics -----------------------------------------------------------


def test_compute_returns_an_estimate_that_converts_and_is_cached():
    metric = streamed(*case())
    found = metric.compute()
    assert isinstance(found, MutualInformationEstimate)
    assert metric.compute() is found
    assert float(found) == found.value
    assert found.in_bits().value == pytest.approx(found.value / math.log(2), rel=1e-15)
    metric.update(*case(1, n=10))
    assert metric.compute().n_samples == 510


def test_memory_does_not_grow_with_the_samples():
    logits, targets = case(n=2000)
    sizes = {n: len(pickle.dumps(streamed(logits[:n], targets[:n]))) for n in (100, 2000)}
    assert sizes[100] == sizes[2000]


@each_setting
def test_calling_it_returns_the_estimate_of_the_batch_and_accumulates(setting):
    logits, targets = case()
    metric = MutualInformation(4, **setting)
    for part, labels in zip(logits.split(100), targets.split(100), strict=True):
        of_batch = metric(part, labels)
        assert_same(of_batch, mutual_information(part, labels, **setting))
    assert_same(metric.compute(), mutual_information(logits, targets, **setting))


def test_reset_starts_from_nothing():
    metric = streamed(*case(), prior=PRIOR, prior_corrected=True)
    metric.reset()
    logits, targets = case(6)
    metric.update(logits, targets)
    expected = mutual_information(logits, targets, prior=PRIOR, prior_corrected=True)
    assert_same(metric.compute(), expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("computed", [False, True])
def test_copies_and_pickles_go_on_where_the_metric_was(duplicate, computed):
    logits, targets = case()
    metric = streamed(logits[:300], targets[:300], prior=PRIOR)
    if computed:
        metric(logits[:1], targets[:1])  # leaves its result in torchmetrics' caches
        metric.compute()
        metric = streamed(logits[:300], targets[:300], prior=PRIOR)
    other = duplicate(metric)
    other.update(logits[300:], targets[300:])
    assert_same(other.compute(), mutual_information(logits, targets, PRIOR))
    assert metric.compute().n_samples == 300


def test_a_checkpoint_holds_the_states_once_they_are_persistent():
    logits, targets = case()
    metric = streamed(logits[:300], targets[:300])
    assert metric.state_dict() == {}
    metric.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    restored = MutualInformation(4)
    restored.load_state_dict(torch.load(file, weights_only=True))
    restored.update(logits[300:], targets[300:])
    assert_same(restored.compute(), mutual_information(logits, targets))


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.to("cpu", torch.float32),
        lambda m: m.set_dtype(torch.float16), lambda m: m.bfloat16(),
    ],
)  # fmt: skip
def test_lower_precision_of_the_model_around_it_leaves_the_sums_alone(move):
    logits, targets = case()
    model = nn.Module()
    model.metric = MutualInformation(4)
    model.metric(logits[:200], targets[:200])
    model.metric.compute()
    move(model.metric if "set_dtype" in move.__code__.co_names else model)
    assert model.metric.moments.dtype == torch.float64
    model.metric.update(logits[200:], targets[200:])
    assert_same(model.metric.compute(), mutual_information(logits, targets))
    model.metric.reset()
    assert model.metric.moments.dtype == torch.float64


def test_updates_in_inference_mode_and_outside_mix():
    logits, targets = case()
    logits.requires_grad_()
    metric = MutualInformation(4)
    with torch.inference_mode():
        metric.update(logits[:200], targets[:200])
    metric.update(logits[200:], targets[200:])
    assert not metric.moments.requires_grad
    assert_same(metric.compute(), mutual_information(logits, targets))


def test_metrics_in_a_collection_stay_apart_though_their_first_batch_agrees():
    """A collection merges metrics whose states look alike after one batch."""
    logits, targets = case()
    sure = 1e3 * nn.functional.one_hot(targets[:8], 4).double()  # log q = 0 under any prior
    batches = [(sure, targets[:8]), (logits, targets)]
    everything = torch.cat([sure, logits]), torch.cat([targets[:8], targets])
    other = [0.12, 0.19, 0.3, 0.39]
    settings = SETTINGS | {"other": {"prior": other, "prior_corrected": True}}
    together = MetricCollection({k: MutualInformation(4, **v) for k, v in settings.items()})
    for batch in batches:
        together.update(*batch)
    assert len(together.compute_groups) == 3  # the three that share q share their sums
    found = together.compute()
    for name, setting in settings.items():
        assert_same(found[name], mutual_information(*everything, **setting))
    together.reset()
    batch = together(*everything)
    assert_same(batch["known prior"], mutual_information(*everything, prior=PRIOR))


def test_zero_prior_is_noticed_though_a_collection_updated_another_metric():
    metrics = {"any": MutualInformation(2), "one": MutualInformation(2, [1.0, 0.0])}
    together = MetricCollection(metrics)
    together.update(torch.eye(2), torch.tensor([0, 0]))
    together.update(torch.eye(2), torch.tensor([0, 1]))
    assert together["any"].compute().n_samples == 4
    with pytest.raises(ValueError, match=r"classes of zero prior: \[1\]"):
        together["one"].compute()


def test_merge_state_joins_two_metrics():
    logits, targets = case()
    first = streamed(logits[:100], targets[:100])
    first.merge_state(streamed(logits[100:], targets[100:]))
    assert_same(first.compute(), mutual_information(logits, targets))


TWO_PROCESSES = """
from softmi.metrics import MutualInformation

part = slice(0, 310) if rank == 0 else slice(310, 500)
result = {}
for name, setting in data["settings"].items():
    metric = MutualInformation(4, **setting)
    for rows, y in zip(data["logits"][part].split(50), data["targets"][part].split(50)):
        metric.update(rows, y)
    both = metric.compute()
    metric.update(data["logits"][:5], data["targets"][:5])  # goes on from its own part
    result[name] = [vars(e) for e in (both, metric.compute())]
    for summary in result[name]:
        for key in [k for k, v in summary.items() if not isinstance(v, (int, float))]:
            del summary[key]
"""


@pytest.mark.slow
def test_two_processes_with_unequal_parts_give_the_estimate_of_one(tmp_path: Path):
    logits, targets = case()
    order = targets.argsort()  # the second process sees no sample of some classes
    logits, targets = logits[order], targets[order]
    data = {"logits": logits, "targets": targets, "settings": SETTINGS}
    results = two_processes(TWO_PROCESSES, data, tmp_path)
    more = torch.cat([logits, logits[:5], logits[:5]]), torch.cat(
        [targets, targets[:5], targets[:5]]
    )
    for found in results:
        for name, setting in SETTINGS.items():
            for summary, samples in zip(found[name], [(logits, targets), more], strict=True):
                expected = mutual_information(*samples, **setting)
                for key in (*FIELDS, "n_samples"):
                    close = pytest.approx(getattr(expected, key), rel=0, abs=1e-10)
                    assert summary[key] == close, (name, key)


@pytest.mark.gpu
def test_on_a_gpu_the_same_number_wherever_the_logits_are():
    logits, targets = case()
    expected = mutual_information(logits, targets, PRIOR, prior_corrected=True)
    metric = MutualInformation(4, PRIOR, prior_corrected=True).to("cuda")
    metric.update(logits[:200].cuda(), targets[:200].cuda())
    metric.update(logits[200:300], targets[200:300])
    metric.cpu()
    metric.update(logits[300:].cuda(), targets[300:].cuda())
    assert_same(metric.compute(), expected)


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ({"num_classes": 2, "prior_corrected": True}, "needs the prior that the network was"),
        ({"num_classes": 3, "prior": [0.5, 0.5]}, "prior has 2 entries, but there are 3 classes"),
        ({"num_classes": 2, "prior": [0.5, 0.6]}, r"sum to 1, got a sum of 1\.1"),
        ({"num_classes": 2, "prior": [-0.5, 1.5]}, "finite and non-negative"),
        ({"num_classes": 2, "prior_mismatch": "no"}, 'must be "raise" or "allow", got \'no\''),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_refuses_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        MutualInformation(**arguments)


@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1]), ValueError, r"for 4 classes.*shape \(2, 3\)"),
        (torch.zeros(4), torch.tensor([0]), ValueError, r"shape \(samples, classes\)"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), ValueError, "holds no samples"),
        (torch.zeros(2, 4), torch.tensor([0]), ValueError, r"targets must have shape \(2,\)"),
        (torch.zeros(2, 4), torch.tensor([0, 4]), ValueError, r"lie in \[0, 4\)"),
        (torch.zeros(2, 4), torch.tensor([0, -1]), ValueError, r"from -1 to 0"),
        (torch.zeros(2, 4), torch.tensor([0, 3]), ValueError, r"zero prior: \[3\]"),
        (torch.full((1, 4), math.nan), torch.tensor([0]), ValueError, "NaN or infinite"),
        (torch.full((1, 4), -math.inf), torch.tensor([0]), ValueError, "NaN or infinite"),
        (torch.zeros(2, 4, dtype=torch.long), torch.tensor([0, 1]), TypeError, "floating point"),
        (torch.zeros(2, 4), torch.tensor([0.0, 1.0]), TypeError, "integer class indices"),
        (torch.zeros(2, 4), torch.tensor([True, False]), TypeError, "integer class indices"),
    ],
)
@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
@pytest.mark.usefixtures("no_shape_checks")
def test_a_bad_batch_is_refused_and_leaves_the_metric_as_it_was(
    corrected, logits, targets, error, message
):
    metric = MutualInformation(4, [0.5, 0.25, 0.25, 0.0], prior_corrected=corrected)
    metric.update(torch.eye(4)[:3], torch.arange(3))
    before = metric.compute()
    with pytest.raises(error, match=message):
        metric.update(logits, targets)
    assert metric.compute() == before


def test_compute_before_update_says_so():
    metric = MutualInformation(3)
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match=r"no samples yet: call update"),
    ):
        metric.compute()


@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
def test_a_prior_that_all_labels_contradict_is_refused_at_the_end(corrected):
    logits, targets = case()
    train = [0.7, 0.1, 0.1, 0.1]
    metric = streamed(logits, targets, prior=train, prior_corrected=corrected)
    with pytest.raises(ValueError, match=r"the labels contradict the prior: it says 0\.7, 0\.1"):
        metric.compute()
    setting = {"prior": train, "prior_corrected": corrected, "prior_mismatch": "allow"}
    found = streamed(logits, targets, **setting).compute()
    assert_same(found, mutual_information(logits, targets, **setting))
    assert found.prior.status == "mismatched"
    assert max(found.value, found.low, found.high) <= found.label_entropy


def test_a_batch_of_one_class_is_marked_and_not_refused():
    logits, targets = case(n=2_000)
    metric = MutualInformation(4, PRIOR)
    for k in range(4):  # class after class, as sorted files come
        assert metric(logits[targets == k], targets[targets == k]).prior.status == "mismatched"
    assert metric.compute().prior.status == "known"
    assert_same(metric.compute(), mutual_information(logits, targets, PRIOR))


def test_a_sure_classifier_under_a_known_prior_stays_below_the_cap():
    y = torch.tensor([0] * 357 + [1] * 43)
    logits = 100.0 * nn.functional.one_hot(y).double()
    found = streamed(logits, y, classes=2, prior=[0.9, 0.1]).compute()
    assert_same(found, mutual_information(logits, y, [0.9, 0.1]))
    assert found.at_cap
    assert found.value == found.high == found.label_entropy


def test_no_certified_bound_without_the_summands():
    found = streamed(*case()).compute()
    with pytest.raises(ValueError, match="streamed"):
        found.certified_lower_bound()


# --- Groups of classes ------------------------------------------------------------------------


def test_groups_are_those_of_liu_et_al():
    counts = [500, 101, 100, 20, 19, 1]
    recalls = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    found = group_accuracies(recalls, counts)
    assert found == pytest.approx({"many": 0.9, "medium": 0.5, "few": 0.1})
    found = group_accuracies(recalls, torch.tensor(counts), many=1000, few=1000)
    assert found == pytest.approx({"few": 0.5})


@pytest.mark.usefixtures("no_shape_checks")
def test_groups_need_a_count_for_each_class():
    with pytest.raises(ValueError, match="a count for each of 2 recalls"):
        group_accuracies(torch.ones(2), [1, 2, 3])
    with pytest.raises(ValueError, match="few=30, many=20"):
        group_accuracies(torch.ones(2), [1, 2], many=20, few=30)
