"""The training loop: the same for the same seed, resumable to the bit, honest when it diverges."""

import itertools
import math
import signal

import numpy as np
import pytest
import torch
from processes import in_processes, two_processes
from torch import nn
from torch.utils.data import TensorDataset

from softmi import GaussianClasses, PCSoftmaxLoss, fit
from softmi.evidence.units import kept_unit
from softmi.models import MLP, GAPNet
from softmi.training import (
    TensorBatches,
    epoch_seconds,
    predict_logits,
    seed_everything,
    warm_up_and_drops,
)

CROSS_ENTROPY = nn.functional.cross_entropy


def data(n: int = 96, *, whole: bool = True) -> TensorDataset:
    x, y = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.2, 0.3, 0.5]).sample(
        n, torch.Generator().manual_seed(0)
    )
    return (TensorBatches if whole else TensorDataset)(x, y)


def network(seed: int = 0) -> MLP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MLP(2, 3, hidden=16)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)


def trained(*, seed: int = 0, model: nn.Module | None = None, **options):
    model = model or network()
    options = {
        "dataset": data(), "loss": CROSS_ENTROPY, "epochs": 4, "batch_size": 16,
        "optimizer": adam, "device": "cpu",
    } | options  # fmt: skip
    return model, fit(model, seed=seed, **options)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(u, v)
        for u, v in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.fixture(autouse=True)
def global_generator():
    """`fit` seeds the global generator: put it back."""
    with torch.random.fork_rng():
        yield


def test_the_same_seed_gives_the_same_weights_to_the_bit():
    (a, history_a), (b, history_b) = trained(scheduler=cosine), trained(scheduler=cosine)
    assert same_weights(a, b)
    assert history_a.losses == history_b.losses


def test_another_seed_gives_another_order_of_the_data():
    assert not same_weights(trained(seed=0)[0], trained(seed=1)[0])


def test_global_random_state_does_not_matter():
    torch.manual_seed(1)
    a = trained()[0]
    torch.manual_seed(2)
    torch.rand(7)
    assert same_weights(a, trained()[0])


def test_each_epoch_has_its_own_order():
    orders = []

    class Watch(MLP):
        def forward(self, x):
            orders[-1].append(x[:, 0].clone())
            return super().forward(x)

    def after(model, epoch):
        orders.append([])
        return {}

    orders.append([])
    trained(model=Watch(2, 3, hidden=4), epochs=3, after_epoch=after)
    first, second, third = (torch.cat(parts) for parts in orders[:3])
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    for order in (first, second, third):  # each sample once
        assert torch.equal(order.sort().values, data().tensors[0][:, 0].sort().values)


def test_dropout_is_seeded_too():
    def model():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.5), nn.Linear(16, 3))

    assert same_weights(trained(model=model())[0], trained(model=model())[0])


def test_seed_everything_fixes_initial_weights_and_numpy():
    draws = []
    for _ in range(2):
        seed_everything(3)
        draws.append((MLP(2, 3), np.random.rand(), torch.rand(1)))  # noqa: NPY002
    assert same_weights(draws[0][0], draws[1][0])
    assert draws[0][1:] == draws[1][1:]


@pytest.mark.parametrize("whole", [True, False], ids=["TensorBatches", "TensorDataset"])
def test_loss_falls_in_every_epoch_of_an_easy_task(whole):
    model, history = trained(
        dataset=data(320, whole=whole), epochs=4, batch_size=16
    )  # 20 steps each
    assert all(b < a for a, b in itertools.pairwise(history.losses))
    assert history.losses[-1] < 0.7 * math.log(3)
    assert not model.training  # ready to be used


def test_schedule_is_stepped_after_each_batch():
    """A rate that drops to zero after the six steps of the first epoch leaves its weights."""

    def once(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 6))

    assert same_weights(trained(epochs=3, scheduler=once)[0], trained(epochs=1)[0])


def test_reported_loss_is_the_mean_over_samples_also_with_a_short_last_batch():
    # Learning rate 0: each epoch sees the same network.
    model, history = trained(
        dataset=data(50), epochs=2, batch_size=16, optimizer=lambda p: torch.optim.SGD(p, lr=0.0)
    )
    x, y = data(50).tensors
    expected = CROSS_ENTROPY(model(x), y).item()
    assert history.losses == pytest.approx([expected] * 2, rel=1e-5)


def test_a_loss_module_and_an_epoch_hook_take_part():
    records = []

    def after(model, epoch):
        assert not model.training
        records.append(epoch)
        return {"epoch": epoch, "numpy": np.float64(0.5), "tensor": torch.tensor(0.25)}

    prior = PCSoftmaxLoss([0.2, 0.3, 0.5])
    model, history = trained(loss=prior, epochs=3, after_epoch=after)
    assert records == [0, 1, 2]
    assert history.records == [{"epoch": k, "numpy": 0.5, "tensor": 0.25} for k in range(3)]
    assert {type(v) for r in history.records for v in r.values()} == {float}
    assert history.losses[-1] < history.losses[0] < 0.5
    assert not model.training


def test_models_that_give_maps_beside_logits_can_be_trained():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 1, 16, 16, generator=generator)
    dataset = TensorBatches(images, torch.arange(24) % 3)
    model = GAPNet(3, width=4)
    _, history = trained(model=model, dataset=dataset, epochs=2, batch_size=8)
    assert len(history.losses) == 2
    assert predict_logits(model, images).shape == (24, 3)


def test_bfloat16_mixed_precision_stays_close_to_float32():
    _, exact = trained(epochs=2)
    model, mixed = trained(epochs=2, precision="bf16-mixed")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    # bfloat16 rounds activations to 3 digits: 2^-8 in each of four layers.
    assert mixed.losses == pytest.approx(exact.losses, rel=4 * 2**-8)
    assert mixed.losses != exact.losses


class Stop(Exception):
    pass


@pytest.mark.parametrize("scheduler", [None, cosine], ids=["no schedule", "schedule"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, scheduler, stop_after):
    def record(model, epoch):
        return {"norm": sum(p.detach().square().sum() for p in model.parameters())}

    whole, whole_history = trained(scheduler=scheduler, after_epoch=record)
    path = tmp_path / "run.ckpt"

    def stop(model, epoch):
        if epoch == stop_after:
            raise Stop
        return record(model, epoch)

    with pytest.raises(Stop):
        trained(scheduler=scheduler, after_epoch=stop, checkpoint=path)
    # Another initial network, and another global state: all that counts is in the file.
    torch.manual_seed(99)
    resumed, history = trained(
        model=network(seed=5), scheduler=scheduler, after_epoch=record, checkpoint=path
    )
    assert same_weights(resumed, whole)
    assert history == whole_history
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_finished_run_is_not_repeated(tmp_path):
    path = tmp_path / "run.ckpt"
    done, history = trained(checkpoint=path)
    before = path.read_bytes()
    again, repeated = trained(model=network(seed=5), checkpoint=path)
    assert same_weights(done, again)
    assert repeated.losses == history.losses
    assert path.read_bytes() == before


def test_more_epochs_continue_a_finished_run(tmp_path):
    path = tmp_path / "run.ckpt"
    trained(epochs=2, checkpoint=path)
    longer, history = trained(epochs=4, checkpoint=path)
    straight, expected = trained(epochs=4)
    assert same_weights(longer, straight)
    assert history.losses == expected.losses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"run\.ckpt is of a run with seed=0, got 1"),
        ({"batch_size": 8}, r"run\.ckpt is of a run with batch_size=16, got 8"),
        ({"epochs": 1}, r"run\.ckpt is of a run of 2 epochs, got epochs=1"),
        ({"model": MLP(2, 3, hidden=8)}, r"run\.ckpt cannot be resumed from: .*size mismatch"),
    ],
    ids=["seed", "batch size", "fewer epochs", "network"],
)
def test_the_checkpoint_of_another_run_is_refused_by_name(tmp_path, options, message):
    path = tmp_path / "run.ckpt"
    trained(epochs=2, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"(?s){message}"):
        trained(checkpoint=path, **options)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, share):
    path = tmp_path / "run.ckpt"
    trained(epochs=2, checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"run\.ckpt cannot be resumed from: ."):
        trained(checkpoint=path)


def test_a_checkpoint_from_before_they_named_their_seed_is_resumed(tmp_path):
    path = tmp_path / "run.ckpt"
    trained(epochs=2, checkpoint=path)
    kept = torch.load(path, weights_only=True)
    del kept["seed"], kept["batch_size"]
    torch.save(kept, path)
    assert same_weights(trained(checkpoint=path)[0], trained()[0])


# Runs of `fit` on two processes; each tells its weights and which samples it saw in each epoch.
DISTRIBUTED = """
import os
from lightning_fabric import Fabric
from softmi import fit
from softmi.models import MLP
from softmi.training import TensorBatches

os.environ |= dict(
    RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
    MASTER_ADDR="127.0.0.1", MASTER_PORT="1", TORCHELASTIC_RUN_ID="none",
)
result = {}
for name, seed, lengths in (
    ("zero", 0, [4]), ("again", 0, [4]), ("one", 1, [4]), ("resumed", 0, [2, 4])
):
    for epochs in lengths:
        torch.manual_seed(0)
        model, seen = MLP(2, 3, hidden=16), []

        def loss(logits, targets):
            seen.append(targets.tolist())
            return torch.nn.functional.cross_entropy(logits, targets % 3)

        history = fit(
            model, TensorBatches(data["x"], torch.arange(len(data["x"]))), loss, epochs=epochs,
            batch_size=8, optimizer=lambda p: torch.optim.Adam(p, lr=0.01), seed=seed,
            fabric=Fabric(accelerator="cpu", strategy="ddp", devices=2),
            checkpoint=f"{folder}/{name}.ckpt",
        )
    weights = [float.hex(v) for p in model.parameters() for v in p.double().flatten().tolist()]
    result[name] = {"weights": weights, "losses": history.losses, "seen": seen}
"""


@pytest.mark.slow
def test_two_processes_follow_the_seed_and_resume_to_the_bit(tmp_path):
    x = data(80).tensors[0]
    runs = two_processes(DISTRIBUTED, {"x": x}, tmp_path)
    for name in runs[0]:
        assert runs[0][name]["weights"] == runs[1][name]["weights"]
        assert runs[0][name]["losses"] == runs[1][name]["losses"]
    for run in runs:
        assert run["zero"] == run["again"]
        assert run["zero"]["seen"] != run["one"]["seen"]
        assert run["zero"]["weights"] != run["one"]["weights"]
        for part in ("weights", "losses"):
            assert run["resumed"][part] == run["zero"][part]
        assert run["resumed"]["seen"] == run["zero"]["seen"][-10:]  # five steps an epoch
    for first in range(0, 20, 5):  # in each epoch each sample once, in an order of its own
        seen = [i for r in runs for batch in r["zero"]["seen"][first : first + 5] for i in batch]
        assert sorted(seen) == list(range(80))
    epochs = [runs[0]["zero"]["seen"][k : k + 5] for k in range(0, 20, 5)]
    assert len({str(epoch) for epoch in epochs}) == 4


def test_a_run_that_diverges_says_so_and_in_which_epoch():
    def explode(logits, targets):
        return CROSS_ENTROPY(logits, targets) * (math.nan if explode.steps > 6 else 1)

    explode.steps = 0

    def counted(logits, targets):
        explode.steps += 1
        return explode(logits, targets)

    with pytest.raises(ValueError, match="the loss is nan in epoch 1: the run has diverged"):
        trained(loss=counted)  # six steps an epoch


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"batch_size": 0}, {"dataset": data()[:0]}], ids=str
)
def test_nothing_to_do_is_an_error_that_says_what_was_asked(options):
    if "dataset" in options:
        options = {"dataset": TensorBatches(torch.zeros(0, 2), torch.zeros(0).long())}
    with pytest.raises(ValueError, match="need epochs >= 1, batch_size >= 1 and data") as error:
        trained(**options)
    expected = {"epochs": "epochs=0", "batch_size": "batch_size=0", "dataset": "0 samples"}
    assert expected[next(iter(options))] in str(error.value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_predictions_are_those_of_eval_mode_and_the_mode_is_restored(training, batch_size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    x = data().tensors[0]
    model.train(training)
    logits = predict_logits(model, x, batch_size=batch_size)
    assert model.training is training
    assert not logits.requires_grad
    # Blocked matrix products differ by rounding between batch sizes.
    torch.testing.assert_close(logits, model.eval()(x).detach(), rtol=1e-5, atol=1e-6)


def test_layers_that_were_frozen_stay_frozen():
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).train()
    model[1].eval()
    predict_logits(model, data().tensors[0])
    assert [layer.training for layer in model] == [True, False, True]


def test_the_mode_is_restored_when_prediction_fails():
    model = MLP(2, 3).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        predict_logits(model, torch.zeros(4, 5))
    assert model.training


@pytest.mark.gpu
def test_training_runs_on_a_gpu_and_ends_near_the_cpu():
    _, here = trained(epochs=2)
    model, there = trained(epochs=2, device="cuda")
    assert next(model.parameters()).device.type == "cuda"
    assert there.losses == pytest.approx(here.losses, rel=1e-3)
    assert predict_logits(model, data().tensors[0], device="cuda").device.type == "cpu"


def rates(steps: int, **options) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule, found = warm_up_and_drops(optimiser, steps, **options), []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_rate_rises_in_a_line_and_falls_where_it_should():
    assert rates(20) == [0.5] * 20
    found = rates(20, warm_up=0.25, drops=(0.8, 0.9), factor=0.01)
    expected = [0.1, 0.2, 0.3, 0.4] + [0.5] * 12 + [0.005] * 2 + [0.00005] * 2
    assert found == pytest.approx(expected)


def test_a_finished_unit_is_not_computed_again_unless_its_settings_change(tmp_path):
    calls = []

    def compute(checkpoint):
        calls.append(checkpoint)
        checkpoint.touch()
        return {"x": torch.ones(2), "nested": {"n": 1.5, "name": "a"}}

    for _ in range(2):
        found = kept_unit(tmp_path / "units", "a b=0.5", {"epochs": 3}, compute)
        assert found["nested"] == {"n": 1.5, "name": "a"}
        assert torch.equal(found["x"], torch.ones(2))
    assert len(calls) == 1
    assert [path.suffix for path in (tmp_path / "units").iterdir()] == [".pt"]
    kept_unit(tmp_path / "units", "a b=0.5", {"epochs": 4}, compute)
    assert len(set(calls)) == 2  # another checkpoint, too


KILLED = """
import os, signal
from pathlib import Path
from test_loop import adam, cosine, data, network
from softmi import fit
from softmi.evidence.units import kept_unit

def die(model, epoch):
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"epoch": epoch}

kept_unit(Path(folder), "unit", {}, lambda checkpoint: fit(
    network(), data(), __import__("torch").nn.functional.cross_entropy, epochs=6, batch_size=16,
    optimizer=adam, scheduler=cosine, device="cpu", checkpoint=checkpoint, after_epoch=die))
"""


def test_a_unit_whose_process_is_killed_goes_on_to_the_same_weights(tmp_path):
    in_processes(KILLED, tmp_path, 1, dies_with=-signal.SIGKILL)
    assert [path.suffix for path in tmp_path.iterdir()] == [".ckpt"]
    epochs = []

    def unit(checkpoint):
        model = network(seed=1)  # other first weights: the checkpoint's count
        history = fit(
            model, data(), CROSS_ENTROPY, epochs=6, batch_size=16, optimizer=adam,
            scheduler=cosine, device="cpu", checkpoint=checkpoint,
            after_epoch=lambda _, epoch: epochs.append(epoch) or {"epoch": epoch},
        )  # fmt: skip
        return {"weights": model.state_dict(), "losses": history.losses}

    resumed = kept_unit(tmp_path, "unit", {}, unit)
    assert epochs == [3, 4, 5]  # epoch 3 had not been saved
    model, history = trained(epochs=6, scheduler=cosine)
    assert resumed["losses"] == history.losses
    for name, weight in model.state_dict().items():
        assert torch.equal(resumed["weights"][name], weight)


def test_seconds_are_those_of_each_epoch_and_their_sum_that_of_the_run(monkeypatch):
    times = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr("softmi.training.loop.time.perf_counter", lambda: next(times))
    lap = epoch_seconds()
    assert [lap(nn.Identity(), epoch) for epoch in (0, 1)] == [{"seconds": 2.0}, {"seconds": 3.0}]
