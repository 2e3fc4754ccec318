"""Data and training of chapter 05: the authors' numbers, and one loss under two names."""

from dataclasses import replace

import pytest
import torch

from softmi.experiments import imbalanced_classification_training as training
from softmi.experiments.imbalanced_classification_training import (
    SETTINGS,
    digits_task,
    load_task,
    train_network,
    weights_apart,
)

QUICK = replace(SETTINGS["smoke"], epochs=1, check_epochs=1)


@pytest.fixture(autouse=True)
def as_before():
    """Training seeds the global generator and takes one thread: put both back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


def test_the_full_profile_is_the_authors_protocol():
    full = SETTINGS["full"]
    found = (full.data, full.side, full.epochs, full.rate, full.batch_size, full.momentum)
    assert found == ("MNIST", 28, 8, 0.01, 64, 0.5)
    assert full.seeds == 10
    optimiser = full.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert (optimiser.defaults["lr"], optimiser.defaults["momentum"]) == (0.01, 0.5)


def test_digits_are_cut_as_mnist_is():
    parts = digits_task()
    counts = torch.bincount(parts["train"][1], minlength=10)
    assert (counts[::2] == 12).all()
    assert ((counts[1::2] > 110) & (counts[1::2] <= 120)).all()  # all of a digit, if fewer
    share = {p: float((y % 2 == 0).double().mean()) for p, (_, y) in parts.items()}
    assert share["train"] == pytest.approx(1 / 11, abs=0.001)  # as in the authors' part of MNIST
    assert share["train"] < share["authors"] < share["official"]
    assert all(x.shape[1:] == (1, 16, 16) for x, _ in parts.values())


def test_mnist_is_cut_into_the_authors_parts_and_the_official_test(monkeypatch):
    """Pictures of four pixels, which hold their number in the data."""

    def numbered(split):
        count = {"train": 60_000, "test": 300}[split]
        number = torch.arange(count)
        pixels = torch.stack([number // 256, number % 256, 0 * number, 255 + 0 * number], 1)
        return pixels.view(-1, 2, 2).to(torch.uint8), number % 10

    monkeypatch.setattr(training, "mnist", numbered)
    parts = load_task(SETTINGS["full"])
    assert list(parts) == ["train", "authors", "official"]
    numbers = {}
    for part, (x, y) in parts.items():
        assert x.shape[1:] == (1, 2, 2)
        pixels = ((0.3081 * x + 0.1307) * 255).flatten(1)  # mean and deviation of MNIST's pixels
        torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
        assert (pixels[:, 3].round() == 255).all()
        numbers[part] = (256 * pixels[:, 0].round() + pixels[:, 1].round()).long()
        assert torch.equal(numbers[part] % 10, y)
    counts = {part: torch.bincount(y).tolist() for part, (_, y) in parts.items()}
    assert counts["train"] == [300, 3000] * 5
    assert counts["authors"] == [300, 1000] * 5  # of the odd digits all there are
    assert torch.equal(numbers["official"], torch.arange(300))
    assert numbers["train"].max() < 40_000 <= numbers["authors"].min()
    assert numbers["authors"].max() < 50_000
    assert numbers["train"][numbers["train"] % 2 == 0].max() == 2_998  # the first 300 of each


def test_all_networks_answer_the_same_pictures():
    first, again = load_task(QUICK), load_task(QUICK)
    assert all(torch.equal(first[part][0], again[part][0]) for part in first)


def test_the_two_ways_to_write_one_loss_train_one_network():
    found = weights_apart(QUICK, digits_task()["train"], seed=0)
    assert found["float32_balanced"]["first"] < 1e-5
    assert found["float64_balanced"]["worst"] < 1e-12
    assert found["float64_plain"]["first"] > 1e-3
    assert len(found["float32_plain"]["epochs"]) == QUICK.check_epochs
    assert torch.get_default_dtype() == torch.float32  # put back


def test_both_losses_begin_with_one_network_and_answer_every_test(monkeypatch):
    begun = []
    name = "softmi.experiments.imbalanced_classification_training.fit"

    def watched(model, *rest, **options):
        begun.append(next(model.parameters()).detach().clone())

    monkeypatch.setattr(name, watched)
    answers = [train_network(QUICK, n, 0, device="cpu") for n in ("softmax", "pc_softmax")]
    assert torch.equal(*begun)
    assert all(set(a["logits"]) == {"authors", "official"} for a in answers)
    monkeypatch.undo()
    trained = [train_network(QUICK, n, 0, device="cpu")["logits"]["authors"]
               for n in ("softmax", "pc_softmax")]  # fmt: skip
    assert not torch.equal(*trained)
