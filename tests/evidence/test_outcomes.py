"""Outcomes of every image come back as they were saved, and belong to one result."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from softmi.evidence.outcomes import Outcomes, load_outcomes, save_outcomes
from softmi.evidence.paths import outcomes_path
from softmi.evidence.results import load_result, save_result

RUN = {"protocol": {}, "profile": "full", "seeds": [0, 1, 2], "seconds": 1.0}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    return tmp_path


def made_up(images: int = 13, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    hits = {way: rng.random((3, images)) < 0.7 for way in ("softmax/equal", "tau=0.5/as_trained")}
    costs = {"softmax/equal": rng.exponential(size=(3, images)).astype(np.float16)}
    sweeps = {"cam none": rng.random((3, images, 5)) < 0.4}
    labels = rng.integers(0, 50, images).astype(np.uint8)
    return Outcomes(np.array([300, 20]), {"official": labels}, {"official": hits},
                    {"official": costs}, {"official": sweeps})  # fmt: skip


def saved(name: str = "01_x", outcomes: Outcomes | None = None) -> str:
    checksum = save_outcomes(name, outcomes or made_up(), "full")
    save_result(name, {"v": 1.0}, outcomes=checksum, **RUN)
    return checksum


@pytest.mark.parametrize("images", [8, 13])
def test_outcomes_come_back_as_they_were_saved(images):
    """Also where the images do not fill the last byte."""
    before = made_up(images)
    checksum = saved(outcomes=before)
    assert load_result("01_x")["outcomes"] == {"sha256": checksum}
    after = load_outcomes("01_x")
    assert np.array_equal(after.counts, before.counts)
    assert np.array_equal(after.labels["official"], before.labels["official"])
    for kind in ("hits", "costs", "sweeps"):
        found, expected = (getattr(o, kind)["official"] for o in (after, before))
        assert list(found) == list(expected)
        for method, array in expected.items():
            assert found[method].dtype == array.dtype
            assert np.array_equal(found[method], array)


def test_a_hit_takes_a_bit(root):
    rng = np.random.default_rng(0)
    hits = {"softmax/equal": rng.random((10, 10_000)) < 0.5}
    labels = np.zeros(10_000, np.uint8)
    save_outcomes("01_x", Outcomes(np.array([1]), {"t": labels}, {"t": hits}), "full")
    size = outcomes_path("01_x", "full").stat().st_size
    assert 10 * 10_000 / 8 <= size < 1.1 * 10 * 10_000 / 8  # coin flips cannot be compressed


def test_the_same_outcomes_have_the_same_checksum():
    assert save_outcomes("01_x", made_up(), "full") == save_outcomes("02_y", made_up(), "full")
    assert save_outcomes("01_x", made_up(), "full") != save_outcomes("01_x", made_up(8), "full")


def test_smoke_runs_keep_theirs_apart(root):
    save_outcomes("01_x", made_up(), "smoke")
    assert [p.name for p in (root / "results/smoke/outcomes").iterdir()] == ["01_x.npz"]
    assert not (root / "results/outcomes").exists()


def test_outcomes_of_another_run_are_refused():
    saved()
    save_outcomes("01_x", made_up(seed=1), "full")
    with pytest.raises(ValueError, match="the two are not of one run"):
        load_outcomes("01_x")


def test_an_altered_file_is_refused():
    saved()
    path = outcomes_path("01_x", "full")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"01_x\.npz has the checksum"):
        load_outcomes("01_x")


@pytest.mark.parametrize("damage", ["no archive", "a wrong checksum in it"])
def test_a_file_that_cannot_be_read_is_named_also_if_it_is_the_one_of_the_result(damage):
    save_outcomes("01_x", made_up(), "full")
    path = outcomes_path("01_x", "full")
    content = bytearray(path.read_bytes())
    if damage == "no archive":
        content = content[:3]
    else:
        content[content.rindex(b"PK\1\2") + 16] ^= 1  # of the last array
    path.write_bytes(content)
    save_result("01_x", {"v": 1.0}, outcomes=hashlib.sha256(content).hexdigest(), **RUN)
    with pytest.raises(ValueError, match=r"01_x\.npz cannot be read: "):
        load_outcomes("01_x")


def test_what_was_not_kept_names_the_command_that_keeps_it():
    save_result("05_x", {"v": 1.0}, **RUN)
    with pytest.raises(FileNotFoundError, match=r"names none\): `make full NB=05` writes them"):
        load_outcomes("05_x")
    saved("06_y")
    outcomes_path("06_y", "full").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*06_y\.npz\): `make full NB=06`"):
        load_outcomes("06_y")


def test_outcomes_are_replaced_whole_or_not_at_all(root, monkeypatch):
    saved()
    before = outcomes_path("01_x", "full").read_bytes()

    def cut_short(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", cut_short)
    with pytest.raises(KeyboardInterrupt):
        save_outcomes("01_x", made_up(8), "full")
    assert outcomes_path("01_x", "full").read_bytes() == before
    assert [p.name for p in (root / "results/outcomes").iterdir()] == ["01_x.npz"]


def test_hits_of_other_images_than_those_of_the_labels_are_refused():
    wrong = made_up(8)
    wrong = Outcomes(wrong.counts, made_up(13).labels, wrong.hits)
    with pytest.raises(ValueError, match=r"softmax/equal on official: need shape \(seeds, 13\)"):
        save_outcomes("01_x", wrong, "full")
