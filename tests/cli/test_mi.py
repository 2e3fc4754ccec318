"""The command `softmi mi`: the library's numbers, one line for bad data; and the page about it."""

import importlib.util
import json
import math
import re
import runpy
import shlex
import sys
import tracemalloc
import zipfile
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

import softmi
from softmi.cli import _arrays, main
from tools.notebooks import ROOT

PRIOR = [0.4, 0.1, 0.2, 0.3]
PAGE = (ROOT / "book" / "measure.md").read_text(encoding="utf-8")
ESTIMATORS = importlib.util.find_spec("softmi.estimators") is not None


def case(
    n: int = 300, classes: int = 4, seed: int = 0, *, prior: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n) if prior is None else rng.choice(classes, n, p=prior)
    return rng.normal(size=(n, classes)) + 3 * np.eye(classes)[y], y


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(name: str = "case.npz", **arrays) -> str:
    np.savez(name, **arrays)
    return name


def asked(capsys, *arguments: str) -> dict:
    """What the command says in JSON, read as strictly as JSON is."""
    assert main(["mi", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def estimated(logits, y, **options):
    return softmi.mutual_information(torch.as_tensor(logits), torch.as_tensor(y), **options)


def assert_says(report: dict, estimate: softmi.MutualInformationEstimate) -> None:
    for e in (estimate, estimate.in_bits()):
        assert report[f"mutual_information_{e.unit}"] == e.value
        for part in ("standard_error", "low", "high"):
            assert report[f"mutual_information_{part}_{e.unit}"] == getattr(e, part)
        assert report[f"label_entropy_{e.unit}"] == pytest.approx(e.label_entropy, rel=1e-15)
    assert report["n_samples"] == estimate.n_samples
    assert report["share_of_label_entropy"] == estimate.value / estimate.label_entropy


# --- Logits -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_json_holds_the_numbers_of_the_library(capsys):
    logits, y = case()
    report = asked(capsys, saved(logits=logits, y=y))
    estimate = estimated(logits, y)
    assert_says(report, estimate)
    bound = estimate.certified_lower_bound(0.05)
    assert report["certified_lower_bound_nats"] == bound
    assert report["certified_lower_bound_bits"] == pytest.approx(bound / math.log(2), rel=1e-15)
    assert report["certified_lower_bound_missing_because"] is None
    told = {k: report[k] for k in ("source", "confidence", "delta", "n_classes")}
    assert told == {"source": "logits", "confidence": 0.95, "delta": 0.05, "n_classes": 4}


@pytest.mark.usefixtures("here")
def test_options_reach_the_library(capsys):
    logits, y = case(prior=PRIOR)
    options = ["--confidence", "0.5", "--delta", "0.2", "--prior-corrected"]
    report = asked(capsys, saved(logits=logits, y=y), *options, "--prior", "0.4,0.1,0.2,0.3")
    estimate = estimated(logits, y, prior=PRIOR, prior_corrected=True, confidence=0.5)
    assert_says(report, estimate)
    assert report["certified_lower_bound_nats"] == estimate.certified_lower_bound(0.2)
    assert (report["confidence"], report["delta"]) == (0.5, 0.2)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("source", ["list", "text", "npy", "npz", "option before npz"])
def test_prior_from_an_option_a_file_or_the_npz(capsys, source):
    logits, y = case(prior=PRIOR)
    arrays, options = {"logits": logits, "y": y}, []
    if "npz" in source:
        arrays["prior"] = np.full(4, 0.25) if "before" in source else np.array(PRIOR)
    if source in ("list", "option before npz"):
        options = ["--prior", "0.4, 0.1, 0.2, 0.3"]
    elif source == "text":
        np.savetxt("prior.txt", PRIOR)
        options = ["--prior", "prior.txt"]
    elif source == "npy":
        np.save("prior.npy", PRIOR)
        options = ["--prior", "prior.npy"]
    report = asked(capsys, saved(**arrays), *options)
    assert_says(report, estimated(logits, y, prior=PRIOR))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("logits_type", [np.float16, np.float32, ">f8", np.longdouble], ids=str)
@pytest.mark.parametrize("label_type", [np.uint8, np.int32, ">i4", np.uint64], ids=str)
def test_arrays_of_any_precision_and_byte_order(capsys, logits_type, label_type):
    logits, y = case()
    logits = logits.astype(logits_type)
    report = asked(capsys, saved(logits=logits, y=y.astype(label_type)))
    assert_says(report, estimated(logits.astype(np.float64), y))


@pytest.mark.usefixtures("here")
def test_text_shows_the_same_numbers_in_both_units(capsys):
    logits, y = case()
    assert main(["mi", saved(logits=logits, y=y)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    nats = estimated(logits, y)
    bits = nats.in_bits()
    lines = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    assert lines == [
        ["nats", "bits"],
        ["mutual information", *(f"{e.value:.4f} ± {e.standard_error:.4f}" for e in (nats, bits))],
        ["95 % interval", *(f"{e.low:.4f} to {e.high:.4f}" for e in (nats, bits))],
        ["cap H(Y)", *(f"{e.label_entropy:.4f}" for e in (nats, bits))],
        ["certified bound, delta 0.05",
         *(f"{e.certified_lower_bound():.4f}" for e in (nats, bits))],
        ["share of the cap", f"{100 * nats.value / nats.label_entropy:.1f} %"],
        ["samples", "300"],
        ["classes", "4"],
    ]  # fmt: skip
    rows = out.splitlines()
    assert len({row.index(lines[i][1]) for i, row in enumerate(rows) if i}) == 1  # aligned
    assert all(row == row.rstrip() for row in rows)


@pytest.mark.usefixtures("here")
def test_what_cannot_be_said_is_null_and_the_reason_is_given(capsys):
    logits, y = case(n=1)
    report = asked(capsys, saved(logits=logits, y=y))
    assert report["mutual_information_standard_error_nats"] is None  # infinite
    assert report["share_of_label_entropy"] is None  # of nothing
    assert report["certified_lower_bound_nats"] is None
    assert "at least two samples" in report["certified_lower_bound_missing_because"]
    assert main(["mi", saved(logits=logits, y=y)]) == 0
    assert "no certified bound: a certified bound needs at least two" in capsys.readouterr().out


# --- Inputs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extrapolated:
    value: float = 1.25
    standard_error: float = 0.05
    low: float = 1.15
    high: float = 1.35
    unit: str = "nats"

    def in_bits(self) -> "Extrapolated":
        numbers = (self.value, self.standard_error, self.low, self.high)
        return Extrapolated(*(v / math.log(2) for v in numbers), "bits")


class Stub:
    """Takes the place of the cross-fitted estimator, and remembers how it was called."""

    made: "Stub"

    def __init__(self, **options):
        Stub.made, self.options = self, options

    def fit(self, X, y):
        self.X, self.y = X, y
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.mutual_information_ = estimated(
            5 * np.eye(len(self.classes_))[codes], codes, confidence=self.options["confidence"]
        )
        self.extrapolated_ = Extrapolated() if self.options["extrapolate"] else None
        self.trustworthy_ = False if self.options["extrapolate"] else None
        self.class_contributions_ = np.full(len(self.classes_), 0.25)
        return self

    def certified_lower_bound(self, delta: float) -> float:
        return -delta


@pytest.fixture
def stub(monkeypatch):
    module = ModuleType("softmi.estimators.softmax")
    module.SoftmaxMutualInformation = Stub
    monkeypatch.setitem(sys.modules, "softmi.estimators.softmax", module)


@pytest.mark.usefixtures("here", "stub")
def test_inputs_go_to_the_cross_fitted_estimator_with_its_defaults(capsys):
    X, y = case()
    report = asked(capsys, saved(X=X, y=y))
    assert Stub.made.options == {
        "folds": 5, "extrapolate": True, "n_jobs": None, "device": "auto", "progress": False,
        "random_state": None, "confidence": 0.95, "prior": None,
    }  # fmt: skip
    np.testing.assert_array_equal(Stub.made.X, X)
    np.testing.assert_array_equal(Stub.made.y, y)
    assert_says(report, Stub.made.mutual_information_)
    assert report["source"] == "X"
    assert report["extrapolated_nats"] == 1.25
    assert report["extrapolated_is_trustworthy"] is False
    assert report["extrapolated_low_bits"] == 1.15 / math.log(2)
    assert report["certified_lower_bound_nats"] == -0.05
    assert report["class_contributions_nats"] == dict.fromkeys("0123", 0.25)


@pytest.mark.usefixtures("here", "stub")
def test_options_reach_the_cross_fitted_estimator(capsys):
    X, y = case()
    words = np.array(["ant", "bee", "cat", "dog"])[y]
    options = "--folds 3 --seed 7 --jobs 2 --device cpu --no-extrapolation --confidence 0.9"
    file = saved(X=X, y=words, prior=PRIOR)
    report = asked(capsys, file, *options.split(), "--progress")
    assert Stub.made.options.pop("prior").tolist() == PRIOR
    assert Stub.made.options == {
        "folds": 3, "extrapolate": False, "n_jobs": 2, "device": "cpu", "progress": True,
        "random_state": 7, "confidence": 0.9,
    }  # fmt: skip
    assert not any(key.startswith("extrapolated") for key in report)
    assert list(report["class_contributions_nats"]) == ["ant", "bee", "cat", "dog"]


@pytest.mark.usefixtures("here", "stub")
def test_text_names_the_extrapolated_number(capsys):
    X, y = case()
    assert main(["mi", saved(X=X, y=y)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^extrapolated +1\.2500 ± 0\.0500 +1\.8034 ± 0\.0721$", out, re.MULTILINE)
    assert out.endswith("\ndo not trust the extrapolated number: it is far from the estimate\n")
    assert re.search(r"^  95 % interval +1\.1500 to 1\.3500 +1\.6591 to", out, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(not ESTIMATORS, reason="the estimator is not there yet")
@pytest.mark.usefixtures("here")
def test_inputs_on_disk_give_the_numbers_of_the_real_estimator(capsys):
    from softmi.estimators import SoftmaxMutualInformation

    X, y = case(n=120, classes=2)
    words = np.array(["no", "yes"])[y]
    options = {"folds": 2, "extrapolate": False, "device": "cpu", "random_state": 3}
    fitted = SoftmaxMutualInformation(**options).fit(X, words)
    file = saved(X=X, y=words)
    arguments = "--folds 2 --no-extrapolation --device cpu --seed 3"
    report = asked(capsys, file, *arguments.split())
    assert_says(report, fitted.mutual_information_)
    assert report["certified_lower_bound_nats"] == fitted.certified_lower_bound(0.05)
    contributions = report["class_contributions_nats"]
    assert list(contributions) == ["no", "yes"]
    assert sum(contributions.values()) == pytest.approx(report["mutual_information_nats"])
    assert main(["mi", saved(X=np.full((120, 2), np.nan), y=words)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# --- Bad data and wrong options ---------------------------------------------------------------


def with_(**changes):
    logits, y = case()
    arrays = {"logits": logits, "y": y} | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        (with_(y=None), "", r"lacks the array y \(labels\): it holds logits"),
        (with_(logits=None), "", "exactly one of logits and X: it holds y"),
        (with_(X=np.zeros((300, 2))), "", "exactly one of logits and X: it holds X, logits, y"),
        (with_(y=np.zeros(299, int)), "", r"\{'logits': \(300, 4\), 'y': \(299,\)\}"),
        (with_(y=np.zeros((300, 1), int)), "", r"y \(n,\), got shapes"),
        (with_(logits=np.zeros(300)), "", r"'logits': \(300,\)"),
        (with_(logits=np.full((300, 4), np.nan)), "", "logits of case.npz must be finite"),
        (with_(logits=np.zeros((300, 4), int)), "", "logits must be floating point"),
        (with_(logits=np.zeros((0, 4)), y=np.zeros(0, int)), "", "logits holds no samples"),
        (with_(y=np.full(300, 4)), "", r"targets must lie in \[0, 4\)"),
        (with_(y=np.zeros(300)), "", "y must hold integer class indices, got float64"),
        (with_(y=np.zeros(300, bool)), "", "y must hold integer class indices, got bool"),
        (with_(y=np.full(300, "a")), "", "y must hold integer class indices, got <U1"),
        (with_(y=np.full(300, None)), "", "array y of case.npz cannot be read: .*Python objects"),
        (with_(prior=np.full(3, 1 / 3)), "", "prior has 3 entries, but there are 4 classes"),
        (with_(), "--prior 0.5,0.6", "prior has 2 entries"),
        (with_(), "--prior 0.5,0.5,0.5,0.5", "prior must sum to 1"),
        (with_(), "--prior 0.5,0.5,0,0", r"targets contain classes of zero prior: \[2, 3\]"),
        (with_(), "--prior nowhere", "neither a list of numbers nor a file"),
        (with_(), "--prior case.npz", "--prior case.npz cannot be read"),
        (with_(logits=None, X=np.full((300, 2), np.inf)), "", "X of case.npz must be finite"),
    ],
)
@pytest.mark.usefixtures("here", "no_shape_checks")
def test_bad_data_exits_with_1_and_one_line(capsys, arrays, arguments, message):
    np.savez("case.npz", **arrays)
    assert main(["mi", "case.npz", *arguments.split()]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"softmi: .*{message}.*\n", err), err


def test_files_that_are_no_npz_exit_with_1_and_one_line(capsys, here):
    np.save("array.npy", np.zeros(3))
    (here / "words.npz").write_text("nothing of the kind")
    file = saved("cut.npz", **with_())
    whole = (here / file).read_bytes()
    spoilt = bytearray(whole)
    spoilt[200:2000] = bytes(1800)
    (here / file).write_bytes(spoilt)
    for name, message in [
        ("missing.npz", "there is no such file"),
        (".", "there is no such file"),
        ("array.npy", "is not an npz file"),
        ("words.npz", "is not an npz file"),
        ("cut.npz", "array logits of cut.npz cannot be read"),
    ]:
        assert main(["mi", name]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"softmi: .*{message}.*\n", err), err


def npy(shape: str, content: bytes = bytes(64)) -> bytes:
    """A file of an array whose header says so."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


DEEP = "(" * 4500 + ")" * 4500


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("y", npy("(1000000000000,)"), r"its shape \(10+,\) needs 80+ bytes, and it has \d+"),
        (
            "logits",
            npy("(1000000000000, 4)"),
            r"its shape \(10+, 4\) needs 320+ bytes, and it has",
        ),
        ("prior", npy("(1000000000000,)"), "its shape .* needs 80+ bytes, and it has"),
        ("logits", npy(DEEP), "."),
        ("y", npy("-1"), "."),
        ("y", npy("(8,)").replace(b"<f8", b"|O8"), "it holds Python objects"),
        ("y", b"\x93NUMPY\x09\x00", "it is written in version"),
        ("y", b"text", "."),
    ],
    ids=[
        "long y",
        "long logits",
        "long prior",
        "brackets",
        "negative",
        "objects",
        "version",
        "text",
    ],
)
def test_headers_that_claim_too_much_exit_with_1_and_one_line(
    capsys, here, name, content, message
):
    arrays = with_(prior=np.array(PRIOR))
    del arrays[name]
    np.savez("case.npz", **arrays)
    with zipfile.ZipFile("case.npz", "a") as archive:
        archive.writestr(f"{name}.npy", content)
    assert main(["mi", "case.npz"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"softmi: array {name} of case.npz cannot be read: .*{message}.*\n", err)


@pytest.mark.parametrize("content", [npy("(1000000000000,)"), npy(DEEP), b"\x93NUMPY", b""])
@pytest.mark.usefixtures("here")
def test_a_prior_of_bad_headers_exits_with_1_and_one_line(capsys, content):
    with open("prior.npy", "wb") as file:
        file.write(content)
    assert main(["mi", saved(**with_()), "--prior", "prior.npy"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"softmi: --prior prior\.npy cannot be read: .+\n", err)


@pytest.mark.usefixtures("here")
def test_shapes_are_compared_and_limited_before_anything_is_unpacked(capsys, monkeypatch):
    """24 MB of zeros in a file of 24 kB: neither the wrong shape nor the right one is read."""
    tracemalloc.start()
    for labels, message in (
        (4, r"must hold \(n, columns\) and y \(n,\), got shapes \{'logits': \(1000000, 3\)"),
        (10**6, r"its shape \(1000000, 3\) needs 24000000 bytes, and 10000000 is most"),
    ):
        np.savez_compressed("case.npz", logits=np.zeros((10**6, 3)), y=np.zeros(labels, np.int8))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert main(["mi", "case.npz"]) == 1
        assert tracemalloc.get_traced_memory()[1] - before < 2**20
        assert re.search(message, capsys.readouterr().err)
        monkeypatch.setattr(_arrays, "LARGEST", 10**7)
    tracemalloc.stop()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError, RuntimeError("full\x1b\nup")])
def test_what_stops_a_command_is_one_line(capsys, monkeypatch, fault):
    def stopped(*_, **__):
        raise fault

    monkeypatch.setattr(softmi, "mutual_information", stopped)
    status = main(["mi", saved(**with_())])
    said = {130: "interrupted", 1: r"full\x1b up" if str(fault) != str(MemoryError) else "not eno"}
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"softmi: {said[status]}")
    assert err.count("\n") == 1
    assert (status == 130) == (fault is KeyboardInterrupt)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["mi"], r"required: FILE\.npz"),
        (["mu", "case.npz"], "invalid choice: 'mu'"),
        (["mi", "case.npz", "--confidence", "1"], r"must be in \(0, 1\), got 1"),
        (["mi", "case.npz", "--delta", "nan"], r"must be in \(0, 1\), got nan"),
        (["mi", "case.npz", "--folds", "1"], "must be at least 2, got 1"),
        (["mi", "case.npz", "--folds", "many"], "invalid _?folds value: 'many'"),
        (["mi", "case.npz", "--device", "abacus"], "argument --device: abacus cannot be used"),
        (["mi", "inputs.npz", "--device", "meta"], "argument --device: meta cannot be used: "),
        (["mi", "case.npz", "--seed", "1"], "case.npz holds logits, to which --seed does not"),
        (["mi", "inputs.npz", "--prior-corrected"], "X, to which --prior-corrected does not"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_options_exit_with_2(capsys, arguments, message):
    saved(**with_())
    saved("inputs.npz", X=np.zeros((4, 2)), y=np.arange(4) % 2)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_help_says_how_to_write_the_file_and_what_the_numbers_mean(capsys):
    for arguments in (["--help"], ["mi", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for phrase in (
        'np.savez("held_out.npz", logits=logits, y=y)', "softmi mi held_out.npz",
        "NOT trained on", "cap H(Y)", "certified bound", "1 bit = 0.693 nats", "exit status",
    ):  # fmt: skip
        assert phrase in text


def test_version_when_run_as_a_module(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["softmi", "--version"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("softmi.cli", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"softmi {softmi.__version__}\n"


# --- The page ---------------------------------------------------------------------------------


def test_every_recipe_of_the_page_runs_as_printed(here, capsys):
    """In order, each section with the names that its text takes for granted."""
    logits, labels = case(classes=10)
    inputs = torch.as_tensor(logits, dtype=torch.float32)
    batches = torch.utils.data.TensorDataset(inputs, torch.as_tensor(labels))
    # So few that the estimator has nothing to train with, and takes no time.
    words = np.array(["no", "yes"] * 5)
    X = np.random.default_rng(0).normal(size=(10, 3))
    saved("samples.npz", X=X, y=words)
    model = torch.nn.Linear(10, 10)
    given = {
        "From logits": {"logits": logits, "y": labels},
        "From a network": {
            "model": model, "test_loader": torch.utils.data.DataLoader(batches, batch_size=64)
        },
        "From arrays": {"X": X, "y": words},
    }  # fmt: skip
    names: dict[str, object] = {}
    said = []
    for section in PAGE.split("\n## ")[1:]:
        names |= next((v for title, v in given.items() if section.startswith(title)), {})
        for language, block in re.findall(r"```(python|sh)\n(.*?)```", section, re.DOTALL):
            assert len(block.splitlines()) <= 10
            if not ESTIMATORS and ("softmi.estimators" in block or "samples.npz" in block):
                continue
            if language == "sh":
                assert main(shlex.split(block)[1:]) == 0
            else:
                exec(compile(block, "book/measure.md", "exec"), names)
            said.append(capsys.readouterr().out)
    assert len(said) == (7 if ESTIMATORS else 5)
    estimate = estimated(logits, labels)
    assert f"{estimate.value:.4f} ± {estimate.standard_error:.4f}" in said[1]
    assert said[2].startswith(f"{estimate}\n")
    with torch.inference_mode():
        expected = estimated(model(inputs), labels).value
    # The network is in float32, and its batches may be multiplied in another order than all.
    assert names["information"].compute().value == pytest.approx(expected, abs=1e-5)
