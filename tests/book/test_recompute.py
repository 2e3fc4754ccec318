"""Statistics computed anew from stored values: rounding passes, and nothing larger does."""

import numpy as np
import pytest
from recompute import problems, rounding, statistics, wrong_parts

from softmi.evidence.results import load_result, save_result
from softmi.evidence.statistics import crossed_interval, paired_difference, summarise


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """What is read back of values that were saved: floats of ten digits."""
    (tmp_path / "claims").mkdir()
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))

    def save_and_load(values: dict) -> dict:
        save_result("01_x", values, protocol={}, profile="full", seeds=[0], seconds=1.0)
        return load_result("01_x")["values"]

    return save_and_load


def drawn(seed: int) -> np.ndarray:
    """Values of any number, scale and offset: large offsets lose most digits of the spread."""
    rng = np.random.default_rng(seed)
    offset, scale = rng.choice([0.0, 1.0, 1e4]), 10.0 ** rng.integers(-6, 3)
    return offset + scale * rng.standard_normal(rng.integers(2, 12))


def test_what_ten_digits_lose_is_never_taken_for_a_change(stored):
    samples = [drawn(seed) for seed in range(300)]
    values = {f"{i}": {"summary": summarise(x), "difference": paired_difference(x, 0 * x)}
              for i, x in enumerate(samples)}  # fmt: skip
    checked, found = problems("01_x", stored(values))
    assert checked == 600
    assert not found


@pytest.mark.parametrize("part", ["mean", "sd", "low", "high"])
def test_a_few_units_of_the_tenth_digit_are_noticed(part, stored):
    """The bounds add up to 10 units of the largest value's tenth digit, for any n up to 12."""
    samples = map(drawn, range(100))
    made = [summarise(x) if part == "sd" else paired_difference(x, 0 * x) for x in samples]
    for found in stored({"all": made})["all"]:
        unit = 2 * max(map(rounding, found["values"])) + 2 * rounding(found[part])
        factor = 1.0 if part in ("mean", "sd") else 12.0  # t / sqrt(n) is 9 for two values
        changed = found | {part: found[part] + 1.5 * factor * unit}
        assert set(wrong_parts(changed)) == {part}


def test_one_run_has_no_spread_and_none_may_be_claimed(stored):
    found = stored({"a": summarise([0.25])})["a"]
    assert wrong_parts(found) == {}
    assert set(wrong_parts(found | {"sd": 0.1})) == {"sd"}


def test_of_an_interval_over_seeds_and_images_the_mean_follows_from_the_seeds(stored):
    hits = np.random.default_rng(0).random((3, 50)) < 0.7
    found = stored({"a": crossed_interval(hits.astype(float))})["a"]
    assert wrong_parts(found) == {}
    assert set(wrong_parts(found | {"mean": found["mean"] + 1e-6})) == {"mean"}
    assert set(wrong_parts(found | {"n": 4})) == {"n"}


def test_summaries_are_found_in_mappings_and_lists():
    values = {"a": {"b": summarise([1.0, 2.0])}, "c": [summarise([3.0, 4.0]), 5.0]}
    assert [path for path, _ in statistics(values)] == ["a.b", "c.0"]


def test_a_difference_is_that_of_its_two_sides():
    a, b = [0.75, 0.5, 0.5], [0.5, 0.25, 0.5]
    accuracy = {"softmax": {"as_trained": {"micro": summarise(b)}},
                "PC-softmax": {"as_trained": {"micro": summarise(a)}}}  # fmt: skip
    right = {"pc_minus_softmax": {"micro": paired_difference(a, b)}}
    wrong = {"pc_minus_softmax": {"micro": paired_difference(np.add(a, 1e-5), b)}}
    assert problems("01_x", {"official": {"accuracy": accuracy, "differences": right}}) == (4, [])
    _, found = problems("01_x", {"official": {"accuracy": accuracy, "differences": wrong}})
    assert len(found) == 1
    assert "pc_minus_softmax.micro is not the difference of its two sides" in found[0]
