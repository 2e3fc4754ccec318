"""What `softmi mi` says to data that are not what they seem: clear words, no impossible number."""

import json
import re

import numpy as np
import pytest

from softmi.cli import main


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


RNG = np.random.default_rng(0)
Y = RNG.integers(2, size=400)
LOGITS = 1.5 * RNG.normal(size=(400, 2)) + 3 * np.eye(2)[Y]


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """A function that saves arrays, runs the command and returns exit status, output, error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **arrays: np.ndarray) -> tuple[int, str, str]:
        np.savez("case.npz", **arrays)
        status = main(["mi", "case.npz", *arguments])
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("corrected", [[], ["--prior-corrected"]], ids=["plain", "corrected"])
def test_a_prior_that_contradicts_the_labels_is_refused(said, corrected):
    status, out, err = said("--prior", "0.9,0.1", *corrected, logits=LOGITS, y=Y)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"softmi: the labels contradict the prior: it says 0\.9, 0\.1, .*\n", err)
    assert "leave it out" in err


def test_a_prior_that_contradicts_the_labels_of_inputs_is_refused_before_anything_is_trained(said):
    status, out, err = said("--prior", "0.9,0.1", X=LOGITS, y=np.where(Y, "b", "a"))
    assert (status, out) == (1, "")
    assert err.startswith("softmi: the labels contradict the prior")


def test_probabilities_are_not_taken_for_logits(said):
    for p in (softmax(LOGITS), softmax(LOGITS).astype(np.float16), softmax(LOGITS).round(2)):
        status, out, err = said(logits=p, y=Y)
        assert (status, out) == (1, "")
        assert re.fullmatch(r"softmi: logits of case.npz look like prob.*np\.log.*\n", err)
    status, _, err = said(logits=np.log(softmax(LOGITS)), y=Y)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("prior", [[], ["--prior", "0.5,0.5"]], ids=["counted", "known"])
def test_over_confident_logits_never_exceed_the_cap(said, prior):
    for scale in (1, 30, 1e6):
        status, out, _ = said("--json", *prior, logits=scale * LOGITS, y=Y)
        report = json.loads(out)
        assert status == 0
        assert report["mutual_information_nats"] <= report["label_entropy_nats"]
        assert report["certified_lower_bound_nats"] <= report["label_entropy_nats"]
        assert report["share_of_label_entropy"] <= 1
        assert (report["mutual_information_nats"] < 0) == (scale > 1)


def test_an_estimate_cut_to_the_cap_says_so(said):
    # 43 of 400 where the prior expects 40: the mean of the summands is above the cap.
    y = np.repeat([0, 1], [357, 43])
    status, out, _ = said("--prior", "0.9,0.1", logits=100 * np.eye(2)[y], y=y)
    assert status == 0
    assert "share of the cap             100.0 %" in out
    assert out.endswith("\nthe estimate is at the cap, to which it was cut if it was above\n")


def test_labels_from_one_strings_and_single_scores_are_named(said):
    for arrays, message in [
        ({"logits": LOGITS, "y": Y + 1}, r"in \[0, 2\) .* from 1 to 2; labels that count from 1"),
        ({"logits": LOGITS, "y": np.where(Y, "b", "a")}, "y must hold integer .* 0 for the first"),
        ({"logits": LOGITS[:, 1], "y": Y}, r"must hold \(n, columns\) and y \(n,\), got shapes"),
    ]:
        status, out, err = said(**arrays)
        assert (status, out) == (1, "")
        assert re.fullmatch(rf"softmi: .*{message}.*\n", err), err
