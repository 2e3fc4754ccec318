r"""PC-softmax on imbalanced classes: the experiment of chapter 05.

Two losses train the same network from the same first weights on the same batches; then both are
asked by three rules, which differ by a term :math:`\log q_k` in the logits. The full profile is
the authors' protocol on MNIST.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from joblib import Parallel, delayed
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from softmi.datasets import data_root, digits, first_per_class, mnist, paper_mnist_indices, sha256
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.statistics import gather, paired_difference
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.decisions import accuracies, certainty, commonest_class, recalls, shares
from softmi.information import entropy, mutual_information, pointwise_mutual_information
from softmi.losses import PCSoftmaxLoss, adjust_logits
from softmi.models import LeNet
from softmi.training import LossFunction, TensorBatches, fit, predict_logits, seed_everything

NAME = "05_imbalanced_classification"
NETWORKS, TESTS = ("softmax", "pc_softmax"), ("authors", "official")
MEASURES = ("micro", "class_mean", "at_training_prior", "cross_entropy", "calibration_error")
METHODS = {  # the three that a reader would choose from: network, and prior that it decides for
    "softmax": ("softmax", "training"),
    "PC-softmax": ("pc_softmax", "equal"),
    "post-hoc": ("softmax", "equal"),
}
CONTRASTS = {
    "pc_minus_softmax": (METHODS["PC-softmax"], METHODS["softmax"]),
    "posthoc_minus_softmax": (METHODS["post-hoc"], METHODS["softmax"]),
    "pc_minus_posthoc": (METHODS["PC-softmax"], METHODS["post-hoc"]),
    "pc_prior_back_minus_softmax": (("pc_softmax", "training"), METHODS["softmax"]),
    "softmax_moved_minus_softmax": (("softmax", "test"), METHODS["softmax"]),
    "pc_moved_minus_pc": (("pc_softmax", "test"), METHODS["PC-softmax"]),
}
EVEN_SHARES = np.linspace(0.02, 0.98, 25)  # of even digits, in the tests of the curve

Part = tuple[Float[Tensor, "samples 1 side side"], Int[Tensor, " samples"]]


@dataclass(frozen=True)
class Settings:
    """What a profile trains, and how.

    Attributes:
        data: "MNIST", cut as the authors do, or "digits", those that come with scikit-learn.
        side: Pixels of a side.
        epochs: Passes over the data; the network of the last is the one that is tested.
        rate: Learning rate of SGD.
        seeds: Number of repetitions.
        check_epochs: Epochs over which two ways to write one loss are compared.
        batch_size: Samples in a step.
        momentum: Of SGD.

    """

    data: Literal["digits", "MNIST"]
    side: int
    epochs: int
    rate: float
    seeds: int
    check_epochs: int
    batch_size: int = 64
    momentum: float = 0.5

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """SGD with this rate and momentum."""
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum)


SETTINGS = {
    "smoke": Settings("digits", 16, 20, 0.08, seeds=5, check_epochs=3),
    "full": Settings("MNIST", 28, 8, 0.01, seeds=10, check_epochs=1),  # the authors' numbers
}


@dataclass(frozen=True)
class Run:
    """What the networks of one seed say of the tests.

    Attributes:
        counts: Training samples of each class.
        labels: Classes of each test.
        logits: By network, then by test.

    """

    counts: Int[Tensor, " classes"]
    labels: Mapping[str, Tensor]
    logits: Mapping[str, Mapping[str, Tensor]]

    @property
    def prior(self) -> Float[Tensor, " classes"]:
        """Class shares of the training set."""
        return self.counts.double() / self.counts.sum()

    def decided(
        self, network: str, test: str, wanted: Float[Tensor, " classes"] | None
    ) -> Float[Tensor, "samples classes"]:
        """Logits for a test of the wanted prior; None means equally likely classes."""
        return decide(self.logits[network][test], network, self.prior, wanted)


# --- Data --------------------------------------------------------------------------------------


def mnist_task() -> dict[str, Part]:
    """The authors' training and test part of MNIST, and the official test set, normalised."""
    images, labels = mnist("train")
    train, test = paper_mnist_indices(labels)
    official, answers = mnist("test")

    def normalised(x: Tensor) -> Tensor:
        return (x[:, None].float() / 255 - 0.1307) / 0.3081

    return {
        "train": (normalised(images[train]), labels[train]),
        "authors": (normalised(images[test]), labels[test]),
        "official": (normalised(official), answers),
    }


def enlarged(digit_images: Float[Tensor, "samples 1 8 8"]) -> Float[Tensor, "samples 1 16 16"]:
    """Digits of 8 pixels at 16, where LeNet begins, normalised."""
    return (F.interpolate(digit_images, scale_factor=2, mode="bilinear") - 0.305) / 0.376


def digits_task(seed: int) -> dict[str, Part]:
    """The same three parts of the digits of scikit-learn, ten to one; the seed divides them."""
    images, labels = digits("train", seed=seed)
    tests, answers = digits("test", seed=seed)
    train = first_per_class(labels, [12, 120] * 5)
    test = first_per_class(answers, [18, 60] * 5)  # as skewed as the authors' test part
    return {
        "train": (enlarged(images[train]), labels[train]),
        "authors": (enlarged(tests[test]), answers[test]),
        "official": (enlarged(tests), answers),
    }


def load_task(settings: Settings, seed: int) -> dict[str, Part]:
    """Images and labels of the parts "train", "authors" and "official"."""
    return mnist_task() if settings.data == "MNIST" else digits_task(seed)


# --- One loss under two names ------------------------------------------------------------------


def weights_by_epoch(
    settings: Settings, train: Part, loss: LossFunction, dtype: torch.dtype, seed: int
) -> Float[Tensor, "epochs parameters"]:
    """All weights of a network after each epoch of its training in the given precision."""
    path: list[Tensor] = []
    images, labels = train

    def keep(model: nn.Module, _: int) -> dict[str, float]:
        path.append(parameters_to_vector(model.parameters()).detach().double())
        return {}

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # of the model, and of what Fabric hands to the loss
    try:
        seed_everything(seed)
        fit(
            LeNet(settings.side), TensorBatches(images.to(dtype), labels), loss,
            epochs=settings.check_epochs, batch_size=settings.batch_size,
            optimizer=settings.optimizer, seed=seed, after_epoch=keep, device="cpu",
            precision={torch.float32: "32-true", torch.float64: "64-true"}[dtype],
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    return torch.stack(path)


def weights_apart(settings: Settings, train: Part, seed: int) -> dict[str, dict[str, Any]]:
    """Largest distance of a weight from the PC-softmax network of the same seed, epoch by epoch.

    For the balanced softmax as Ren et al. (2020) write it, which is the same loss, and for plain
    softmax, which is another; in single and in double precision.
    """
    counts = torch.bincount(train[1], minlength=10)
    ways: dict[str, LossFunction] = {
        "pc": PCSoftmaxLoss(class_counts=counts),
        "balanced": lambda logits, y: F.cross_entropy(logits + counts.to(logits).log(), y),
        "plain": F.cross_entropy,
    }
    found = {}
    for dtype, name in {torch.float32: "float32", torch.float64: "float64"}.items():
        paths = {w: weights_by_epoch(settings, train, f, dtype, seed) for w, f in ways.items()}
        for way in ("balanced", "plain"):
            apart = (paths[way] - paths["pc"]).abs().amax(1).tolist()
            found[f"{name}_{way}"] = {"epochs": apart, "first": apart[0], "worst": max(apart)}
    return found


# --- Training ----------------------------------------------------------------------------------


def train_network(
    settings: Settings, network: str, seed: int, *, device: str, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Train with one of the two losses; the logits of each test, and the seconds it took."""
    torch.set_num_threads(1)  # the same floats whatever the machine is busy with; also in workers
    started = time.perf_counter()
    task = load_task(settings, seed)
    images, labels = task.pop("train")
    counts = torch.bincount(labels, minlength=10)
    seed_everything(seed)
    model = LeNet(settings.side)
    fit(
        model, TensorBatches(images, labels),
        F.cross_entropy if network == "softmax" else PCSoftmaxLoss(class_counts=counts),
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=settings.optimizer,
        seed=seed, device=device, checkpoint=checkpoint,
    )  # fmt: skip
    logits = {test: predict_logits(model, x) for test, (x, _) in task.items()}
    return {"logits": logits, "seconds": time.perf_counter() - started}


def _unit(settings: Settings, network: str, seed: int, device: str, keep: bool) -> dict[str, Any]:
    train = partial(train_network, settings, network, seed, device=device)
    if not keep:
        return train()
    made_by = asdict(settings) | {"network": network, "seed": seed, "device": device,
                                  "code": code_digest(train_network),
                                  "torch": str(torch.__version__)}  # fmt: skip
    del made_by["seeds"], made_by["check_epochs"]
    folder = project_root() / "_build" / "full" / NAME
    return kept_unit(folder, f"{network}-{seed}", made_by, lambda path: train(checkpoint=path))


# --- What is measured --------------------------------------------------------------------------


def decide(
    logits: Float[Tensor, "samples classes"],
    network: str,
    training_prior: Float[Tensor, " classes"],
    wanted_prior: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, "samples classes"]:
    r"""Logits for a test of the wanted prior; None means equally likely classes.

    .. math:: f_k(x) - [\text{softmax}] \log \pi_k + \log q_k

    A network trained with plain softmax carries the training prior, one of PC-softmax nothing.
    """
    carried = training_prior if network == "softmax" else None
    return adjust_logits(logits, train_prior=carried, test_prior=wanted_prior)


def too_sure(
    logits: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    training_prior: Float[Tensor, " classes"],
) -> dict[str, float]:
    """Probability of the answer minus share of right ones, for rare and for common answers."""
    confidence, answers = logits.softmax(1).max(1)
    excess = confidence - (answers == labels).float()
    rare = training_prior[answers] < 1 / len(training_prior)
    return {
        "too_sure_rare": float(excess[rare].mean()),
        "too_sure_common": float(excess[~rare].mean()),
    }


def by_rule(run: Run, network: str, test: str) -> dict[str, dict[str, float]]:
    """Accuracy and certainty of one network on one test, decided for three priors."""
    labels, found = run.labels[test], {}
    rules = {"training": run.prior, "equal": None, "test": shares(labels, len(run.counts))}
    for rule, wanted in rules.items():
        logits = run.decided(network, test, wanted)
        numbers = accuracies(logits, labels, run.counts) | certainty(logits, labels)
        found[rule] = {m: numbers[m] for m in MEASURES} | too_sure(logits, labels, run.prior)
    return found


def differences(accuracy: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Paired differences between methods, and what rule and loss each contribute."""
    found: dict[str, dict[str, Any]] = {
        name: {} for name in (*CONTRASTS, "rule", "loss", "rule_over_loss")
    }
    for m in MEASURES:
        v = {(n, r): np.array(accuracy[n][r][m]["values"]) for n in accuracy for r in accuracy[n]}
        for name, (ours, theirs) in CONTRASTS.items():
            found[name][m] = paired_difference(v[ours], v[theirs])
        equal, training = (v["softmax", r] + v["pc_softmax", r] for r in ("equal", "training"))
        pc, plain = (v[n, "training"] + v[n, "equal"] for n in ("pc_softmax", "softmax"))
        found["rule"][m] = paired_difference(equal / 2, training / 2)
        found["loss"][m] = paired_difference(pc / 2, plain / 2)
        found["rule_over_loss"][m] = paired_difference(
            np.abs(equal - training) / 2, np.abs(pc - plain) / 2
        )
    return found


def per_class(runs: Sequence[Run], test: str) -> dict[str, dict[str, Tensor]]:
    """Accuracy within each class by each method, mean and standard deviation over seeds."""
    found = {}
    for method, (network, rule) in METHODS.items():
        by_seed = torch.stack([
            recalls(run.decided(network, test, run.prior if rule == "training" else None),
                    run.labels[test])
            for run in runs
        ])  # fmt: skip
        found[method] = {"mean": by_seed.mean(0), "sd": by_seed.std(0)}
    return found


def prior_curve(runs: Sequence[Run], test: str = "official") -> dict[str, Any]:
    r"""Micro accuracy on tests of other class shares, as trained and with the logits moved.

    .. math:: \sum_k q_k a_k, \qquad q = (s/5, (1-s)/5, s/5, \dots)

    with the accuracies :math:`a_k` within the classes and the share s of even digits, each of
    `EVEN_SHARES`. `gain` is the difference of the two curves, averaged over them.
    """
    found: dict[str, Any] = {"even_share": EVEN_SHARES}
    for network in NETWORKS:
        curves: dict[str, list[list[float]]] = {"as_trained": [], "corrected": []}
        for run in runs:
            labels = run.labels[test]
            fixed = recalls(run.logits[network][test], labels)
            tests = [torch.tensor([s / 5, (1 - s) / 5] * 5).float() for s in EVEN_SHARES]
            moved = (recalls(run.decided(network, test, q), labels) for q in tests)
            curves["as_trained"].append([float(q @ fixed) for q in tests])
            curves["corrected"].append([float(q @ r) for q, r in zip(tests, moved, strict=True)])
        points = {name: np.array(curve) for name, curve in curves.items()}
        gain = paired_difference(points["corrected"].mean(1), points["as_trained"].mean(1))
        found[network] = {
            name: {"mean": p.mean(0), "sd": p.std(0, ddof=1)} for name, p in points.items()
        } | {"gain": gain}
    return found


def information(run: Run, test: str) -> dict[str, Any]:
    r"""Estimates of I(X;Y) in nats from each network, and the ceiling H(Y) of the test.

    `own_prior` moves the logits to the test's prior first. `training_prior_kept` does not: its
    mean is :math:`I_q(X;Y) + \mathrm{KL}(q(x) \| p_\pi(x))`, which is no information.
    """
    labels = run.labels[test]
    there = shares(labels, len(run.counts))
    found: dict[str, Any] = {"ceiling": float(entropy(there))}
    for network in NETWORKS:
        kept = pointwise_mutual_information(
            run.logits[network][test], run.prior, prior_corrected=network == "pc_softmax"
        )
        found[network] = {
            "own_prior": mutual_information(run.decided(network, test, there), labels).value,
            "training_prior_kept": float(kept.gather(1, labels[:, None]).mean()),
        }
    return found


def evaluate(runs: Sequence[Run]) -> dict[str, Any]:
    """All numbers of the runs, test by test, and the curve over priors."""
    values: dict[str, Any] = {}
    for test in TESTS:
        accuracy = gather([{n: by_rule(run, n, test) for n in NETWORKS} for run in runs])
        values[test] = {
            "accuracy": accuracy,
            "differences": differences(accuracy),
            "commonest_class": gather([
                commonest_class(run.labels[test], run.counts) for run in runs
            ]),
            "per_class": per_class(runs, test),
            "information": gather([information(run, test) for run in runs]),
        }  # fmt: skip
    return values | {"prior_curve": prior_curve(runs)}


def run(profile: Profile = "smoke", *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Train, measure and save the result of a profile; return its values.

    Args:
        profile: "smoke" (on the CPU) or "full", whose networks are kept one by one, so that a
            run that was cut short goes on.
        seed: The first seed; it also makes the task that `weights_apart` trains on.
        device: Where to train in the full profile.

    Raises:
        ValueError: Another profile.

    """
    if profile not in SETTINGS:
        raise ValueError(f"profile must be one of {sorted(SETTINGS)}, got {profile!r}")
    settings, keep = SETTINGS[profile], profile == "full"
    device = device if keep else "cpu"
    seeds = list(range(seed, seed + settings.seeds))
    jobs = [(s, network) for s in seeds for network in NETWORKS]
    units = Parallel(n_jobs=2 if keep else 1)(
        delayed(_unit)(settings, network, s, device, keep) for s, network in jobs
    )
    logits = {job: unit["logits"] for job, unit in zip(jobs, units, strict=True)}
    runs = []
    for s in seeds:
        task = load_task(settings, s)
        counts = torch.bincount(task["train"][1], minlength=10)
        labels = {test: task[test][1] for test in TESTS}
        runs.append(Run(counts, labels, {n: logits[s, n] for n in NETWORKS}))
    first = load_task(settings, seed)
    values = evaluate(runs) | {
        "counts": {part: len(labels) for part, (_, labels) in first.items()},
        "even_share": {p: float(shares(labels, 10)[::2].sum()) for p, (_, labels) in first.items()},
        "weights_apart": weights_apart(settings, first["train"], seed),
    }
    _save(profile, settings, seeds, device, values, sum(unit["seconds"] for unit in units))
    return values


def _save(
    profile: Profile, settings: Settings, seeds: list[int], device: str, values: dict[str, Any],
    seconds: float,
) -> None:  # fmt: skip
    raw = data_root() / "MNIST" / "raw"
    save_result(
        NAME,
        values,
        protocol={
            "data": settings.data,
            "network": "convolutions 20-50, then 500-10",
            "pre-training": "none",
            "optimiser": f"SGD, rate {settings.rate}, momentum {settings.momentum}",
            "batch": settings.batch_size,
            "epochs": settings.epochs,
            "selection": "none: the last epoch",
        },
        profile=profile,
        seeds=seeds,
        seconds=seconds,  # of training, the networks one after another
        device=device,
        data={p.name: sha256(p) for p in sorted(raw.glob("*.gz"))} if profile == "full" else {},
    )
