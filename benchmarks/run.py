"""Speed beside a peer, in one run, as a ratio: `make bench`.

Each row times softmi against the plainest way to do the same with a library that everyone has.
Ratios hold on the machine that ran them; absolute times are printed for scale only. The last
table sets the mutual information estimator beside its rivals on the same samples, with the error
of each.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from localization import compare_sweeps
from maps import compare_activation_maps
from torchvision.models import resnet18

from softmi import (
    GaussianClasses,
    PCSoftmaxLoss,
    SoftmaxMutualInformation,
    class_activation_map,
    fold_prior,
)
from softmi.estimators import (
    critic_mutual_information,
    donsker_varadhan,
    infonce,
    logistic_regression_mutual_information,
    nearest_neighbour_mutual_information,
    nwj,
    smile,
)
from softmi.evidence.tables import markdown_table


def median_seconds(
    functions: dict[str, Callable[[], object]], *, rounds: int = 15
) -> dict[str, float]:
    """Median time of each function, taken in turns so that a slow spell hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()  # warm-up
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.median(t)) for name, t in times.items()}


def loss_step(loss: Callable, batch: int, classes: int) -> Callable[[], None]:
    """Forward and backward of a loss."""
    logits = torch.randn(batch, classes, requires_grad=True)
    targets = torch.randint(classes, (batch,))

    def step() -> None:
        logits.grad = None
        loss(logits, targets).backward()

    return step


def compare_losses(batch: int, classes: int) -> tuple[str, str, float, float]:
    """Time PC-softmax against PyTorch's cross-entropy."""
    pc = PCSoftmaxLoss(class_counts=torch.randint(1, 1000, (classes,)))
    seconds = median_seconds(
        {
            "ours": loss_step(pc, batch, classes),
            "peer": loss_step(F.cross_entropy, batch, classes),
        },
        rounds=30,
    )
    name = f"PCSoftmaxLoss, {batch} x {classes}, forward and backward"
    return name, "torch cross_entropy, no prior", seconds["ours"], seconds["peer"]


def compare_training_steps(
    batch: int = 32, side: int = 64, classes: int = 1000, rounds: int = 15
) -> list[tuple[str, str, float, float]]:
    """Time a whole step of ResNet-18 with PC-softmax and with a folded head, beside plain."""
    prior = torch.rand(classes) + 0.01
    prior /= prior.sum()
    x, y = torch.randn(batch, 3, side, side), torch.randint(classes, (batch,))

    def step(loss: Callable, *, fold: bool = False) -> Callable[[], None]:
        torch.manual_seed(0)
        model = resnet18(num_classes=classes)
        if fold:
            model.fc = fold_prior(model.fc, prior)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def once() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss(model(x), y).backward()
            optimizer.step()

        return once

    seconds = median_seconds(
        {
            "PCSoftmaxLoss": step(PCSoftmaxLoss(prior)),
            "peer": step(F.cross_entropy),
            "fold_prior": step(F.cross_entropy, fold=True),
        },
        rounds=rounds,
    )
    task = f"step of ResNet-18, {batch} x 3 x {side} x {side}, {classes} classes"
    return [
        (f"{name}, {task}", "torch cross_entropy, no prior", seconds[name], seconds["peer"])
        for name in ("PCSoftmaxLoss", "fold_prior")
    ]


def compare_maps(batch: int = 32) -> tuple[str, str, float, float]:
    """Time infoCAM from feature maps against autograd of the logit difference (as Grad-CAM)."""
    maps, weights = torch.randn(batch, 1280, 7, 7), torch.randn(200, 1280)
    classes = torch.randint(200, (batch,))

    def ours() -> torch.Tensor:
        return class_activation_map(maps, weights, classes, contrast="mean")

    def gradients() -> torch.Tensor:
        features = maps.clone().requires_grad_()
        logits = features.mean((2, 3)) @ weights.T
        own = logits.gather(1, classes[:, None])[:, 0]
        contrast = own - (logits.sum(1) - own) / (len(weights) - 1)
        (grad,) = torch.autograd.grad(contrast.sum(), features)
        return (grad.sum((2, 3), keepdim=True) * maps).sum(1) / 49

    torch.testing.assert_close(ours(), gradients(), rtol=1e-3, atol=1e-3)
    seconds = median_seconds({"ours": ours, "peer": gradients})
    return (f"infoCAM, {batch} maps of 1280 x 7 x 7", "autograd through the head",
            seconds["ours"], seconds["peer"])  # fmt: skip


def compare_estimators(n: int = 5_000, dimensions: int = 100) -> str:
    """Time and error of each estimator of mutual information, once each, as a table."""
    task = GaussianClasses.random_means(10, dimensions, separation=2.9)
    truth = task.mutual_information(samples=200_000).value
    X, y = task.sample(n, torch.Generator().manual_seed(1))  # 0 gave the means
    critics = {"DV": donsker_varadhan, "NWJ": nwj, "InfoNCE": infonce, "SMILE": smile}
    estimates: dict[str, Callable[[], object]] = {
        "softmi, both estimates, one process": lambda: SoftmaxMutualInformation(
            random_state=0
        ).fit(X, y),
        "softmi, both estimates, two processes": lambda: SoftmaxMutualInformation(
            n_jobs=2, random_state=0
        ).fit(X, y),
        "softmi, lower bound only, two processes": lambda: SoftmaxMutualInformation(
            extrapolate=False, n_jobs=2, random_state=0
        ).fit(X, y),
        "nearest neighbours": lambda: nearest_neighbour_mutual_information(X, y),
        "logistic regression": lambda: logistic_regression_mutual_information(X, y),
        "MINE": lambda: critic_mutual_information(X, y, donsker_varadhan, ema=0.99),
    } | {name: (lambda b=b: critic_mutual_information(X, y, b)) for name, b in critics.items()}
    rows, first = [], None
    for name, estimate in estimates.items():
        started = time.perf_counter()
        found = estimate()
        seconds = time.perf_counter() - started
        first = first or seconds
        if isinstance(found, SoftmaxMutualInformation):
            values = [found.mutual_information_, found.extrapolated_]
        else:
            values = [found]
        errors = ", ".join(f"{float(v) - truth:+.3f}" for v in values if v is not None)
        rows.append((name, f"{seconds:.1f} s", f"{first / seconds:.2f}", errors))
    title = f"I(X;Y), n = {n:,}, {dimensions} dimensions, 10 classes, truth {truth:.3f} nats"
    header = (title, "time", "softmi / this", "error, nats")
    return markdown_table(header, rows)


def main() -> None:
    """Print the tables."""
    torch.manual_seed(0)
    rows = [
        (
            name,
            f"{1000 * ours:.2f} ms",
            peer,
            "" if theirs is None else f"{1000 * theirs:.2f} ms",
            "" if theirs is None else f"{ours / theirs:.2f}",
        )
        for name, peer, ours, theirs in (
            compare_losses(1024, 1000),
            compare_losses(256, 21_841),
            *compare_training_steps(),
            *compare_training_steps(side=224, rounds=5),
            compare_maps(),
            *compare_activation_maps(median_seconds),
            *compare_sweeps(median_seconds),
        )
    ]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians\n")
    print(markdown_table(("softmi", "time", "peer", "time", "ratio"), rows))
    print("\n" + compare_estimators())


if __name__ == "__main__":
    main()
