"""Evidence: statistics of runs, result files that cannot lie, and verdicts that are computed."""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from processes import in_processes

from softmi.evidence import results, statistics
from softmi.evidence.results import load_result, lookup, project_root, result_path, save_result
from softmi.evidence.statistics import paired_difference, summarise
from softmi.evidence.tables import (
    format_number,
    format_points,
    in_percent,
    in_points,
    markdown_table,
    provenance_table,
)

RUN = {
    "protocol": {"data": "toy", "seeds": 3},
    "profile": "full",
    "seeds": [0, 1],
    "seconds": 1.26,
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project; none of these tests touches the real one."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    (tmp_path / "claims").mkdir()
    (tmp_path / "notebooks").mkdir(exist_ok=True)
    return tmp_path


# --- Statistics -------------------------------------------------------------------------------


def test_summary_is_mean_and_sample_deviation():
    found = summarise([1.0, 2.0, 6.0])
    assert found == {"mean": 3.0, "sd": math.sqrt(7), "n": 3, "values": [1.0, 2.0, 6.0]}
    assert summarise([4.0]) == {"mean": 4.0, "sd": None, "n": 1, "values": [4.0]}


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 5, 30])
def test_paired_difference_has_the_interval_of_scipys_paired_t_test(n, confidence):
    rng = np.random.default_rng(n)
    a = rng.normal(size=n)
    b = a + rng.normal(0.3, 0.1, size=n)
    found = paired_difference(a.tolist(), b.tolist(), confidence=confidence)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(confidence)
    assert found["low"] == pytest.approx(expected.low, rel=1e-12)
    assert found["high"] == pytest.approx(expected.high, rel=1e-12)
    assert found["mean"] == pytest.approx((a - b).mean(), rel=1e-12)
    assert (found["n"], found["values"]) == (n, (a - b).tolist())


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_too_few_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match=f"two pairs, got {len(a)} and {len(b)} values"):
        paired_difference(a, b)


# --- Result files -----------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_saved():
    values = {
        "number": 0.5,
        "count": 3,
        "flag": True,
        "nothing": None,
        "nested": {"tensor": torch.tensor([[1.0, 2.5]]), "array": np.arange(3)},
        "scalar": np.float32(0.25),
        "tuple": (torch.tensor(7), np.bool_(False)),
        5: "five",
    }
    path = save_result("01_x", values, **RUN)
    record = load_result("01_x")
    assert record["values"] == {
        "number": 0.5,
        "count": 3,
        "flag": True,
        "nothing": None,
        "nested": {"tensor": [[1.0, 2.5]], "array": [0, 1, 2]},
        "scalar": 0.25,
        "tuple": [7, False],
        "5": "five",
    }
    assert record["protocol"] == RUN["protocol"]
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("value", [1 / 3, 1e-17, -123456.789012345, 5e300, 2e-308])
def test_numbers_keep_ten_digits(value):
    save_result("01_x", {"v": value}, **RUN)
    assert load_result("01_x")["values"]["v"] == pytest.approx(value, rel=5e-10, abs=0)


@pytest.mark.parametrize(
    "values",
    [
        {"v": math.nan},
        {"v": [1.0, math.inf]},
        {"v": {"w": np.array([1.0, -np.inf])}},
        {"v": torch.tensor(math.nan)},
    ],
    ids=["nan", "inf", "array", "tensor"],
)
def test_nan_and_infinity_are_refused_and_the_old_result_stays(values, root):
    path = save_result("01_x", {"v": 1.0}, **RUN)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="result '01_x' holds NaN or infinity"):
        save_result("01_x", values, **RUN)
    assert path.read_bytes() == before
    assert [p.name for p in (root / "results").iterdir()] == ["01_x.json"]


def test_a_result_is_replaced_whole_or_not_at_all(root, monkeypatch):
    path = save_result("01_x", {"v": 1.0}, **RUN)
    before = path.read_bytes()

    def cut_short(self, text):
        self.write_bytes(text[:20].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", cut_short)
    with pytest.raises(KeyboardInterrupt):
        save_result("01_x", {"v": 2.0}, **RUN)
    assert path.read_bytes() == before
    assert [p.name for p in (root / "results").iterdir()] == ["01_x.json"]


def test_processes_that_save_at_the_same_time_leave_one_whole_result(root, tmp_path):
    code = """
    import json
    from softmi.evidence.results import result_path, save_result
    for i in range(15):
        save_result("01_x", {"v": [i] * 2000}, protocol={}, profile="full", seeds=[0], seconds=1.0)
        json.loads(result_path("01_x", "full").read_text())
    """
    in_processes(code, tmp_path)
    assert [p.name for p in (root / "results").iterdir()] == ["01_x.json"]


def test_smoke_and_full_results_live_apart(root):
    smoke = save_result("01_x", {"v": 1.0}, **RUN | {"profile": "smoke"})
    full = save_result("01_x", {"v": 2.0}, **RUN)
    assert smoke == result_path("01_x", "smoke") == root / "results" / "smoke" / "01_x.json"
    assert full == result_path("01_x", "full") == root / "results" / "01_x.json"
    assert load_result("01_x", "smoke")["values"] == {"v": 1.0}
    assert load_result("01_x")["values"] == {"v": 2.0}


def test_a_missing_result_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match=r"'04_x' of profile full: run `make full NB=04`"):
        load_result("04_x")
    command = r"run `python -m softmi\.experiments\.published_long_tail`"
    with pytest.raises(FileNotFoundError, match=command):  # which `make full` does not run
        load_result("06_long_tailed_losses_published")
    with pytest.raises(FileNotFoundError, match=r"profile smoke: run `make notebooks`"):
        load_result("04_x", "smoke")


def test_lookup_follows_a_path_and_says_what_there_is():
    result = {"values": {"a": {"b": 1, "c": [2, 3]}}}
    assert lookup(result, "a.b") == 1
    assert lookup(result, "a") == {"b": 1, "c": [2, 3]}
    with pytest.raises(KeyError, match=r"'a\.x': no 'x' among \['b', 'c'\]"):
        lookup(result, "a.x")
    with pytest.raises(KeyError, match=r"'a\.b\.c': no 'c' among int"):
        lookup(result, "a.b.c")


def test_of_many_keys_the_message_lists_the_nearest_and_counts_the_rest():
    result = {"values": {f"method_{i:03}": i for i in range(200)} | {"pc_minus_softmax": 0}}
    with pytest.raises(KeyError) as caught:
        lookup(result, "pc_minus_sotfmax")
    message = str(caught.value)
    assert "no 'pc_minus_sotfmax' among ['pc_minus_softmax', " in message
    assert "and 193 more" in message
    assert len(message) < 300


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_provenance_says_all_that_a_repeat_needs(root):
    git(root, "init", "-q")
    (root / "softmi").mkdir()
    (root / "softmi" / "a.py").write_text("1")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    path = save_result("01_x", {"v": 1.0}, **RUN, data={"MNIST": "0ab1"})
    found = json.loads(path.read_text())["provenance"]
    assert set(found) == {
        "commit", "clean", "date", "profile", "seeds", "device", "seconds", "versions", "data",
    }  # fmt: skip
    assert found["commit"] == git(root, "rev-parse", "HEAD")
    assert found["clean"] is True  # the result itself does not make the code another one
    assert found["profile"] == "full"
    assert found["seeds"] == [0, 1]
    assert found["seconds"] == 1.3
    assert found["device"].startswith("CPU (")
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(found["versions"]) == {"python", "torch", "torchvision", "numpy", "scikit-learn"}
    assert found["data"] == {"MNIST": "0ab1"}
    assert len(found["date"]) == 10


def test_changed_code_is_not_clean(root):
    git(root, "init", "-q")
    (root / "softmi").mkdir()
    (root / "softmi" / "a.py").write_text("1")
    (root / "notes.txt").write_text("1")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    (root / "notes.txt").write_text("2")  # not code
    assert results.provenance(profile="full", seeds=[0], device="cpu", seconds=0.0)["clean"]
    (root / "softmi" / "a.py").write_text("2")
    assert not results.provenance(profile="full", seeds=[0], device="cpu", seconds=0.0)["clean"]


def test_provenance_names_the_card_of_a_run_on_one_and_not_what_was_asked_for(root, monkeypatch):
    def device(asked: str) -> str:
        return results.provenance(profile="full", seeds=[0], device=asked, seconds=0.0)["device"]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9000")
    assert device("cuda") == device("cuda:0") == "Card 9000"
    assert device("cpu").startswith("CPU (")  # though there is a card
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device("cuda") == "cuda"
    assert device("a card elsewhere") == "a card elsewhere"


@pytest.mark.parametrize("why", ["no repository", "no git"])
def test_without_a_repository_or_git_the_commit_is_unknown_and_nothing_is_called_clean(
    why, root, monkeypatch
):
    if why == "no git":
        monkeypatch.setenv("PATH", str(root))
    else:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    path = save_result("01_x", {"v": 1.0}, **RUN)
    found = json.loads(path.read_text())["provenance"]
    assert (found["commit"], found["clean"]) == ("unknown", False)


# --- The project's folder ---------------------------------------------------------------------


def test_root_is_searched_upwards_unless_it_is_set(root, monkeypatch):
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert project_root() == root
    monkeypatch.delenv("SOFTMI_ROOT")
    assert project_root() == root
    (root / "claims").rmdir()
    with pytest.raises(FileNotFoundError, match=r"no claims/ and notebooks/ in .*b or above"):
        project_root()


# --- Writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, 3, "–"),
        (1.23456, 3, "1.235"),
        (1.23456, 1, "1.2"),
        (-0.5, 2, "-0.50"),
        (7, 0, "7"),
        (0.0, 3, "0"),
        (3e-16, 3, "3.0e-16"),
        (-2.5e-9, 3, "-2.5e-09"),
        (1e-6, 3, "0.000"),
        ({"mean": 1.5, "sd": 0.25, "n": 5}, 2, "1.50 ± 0.25 (n = 5)"),
        ({"mean": 1.5, "sd": None, "n": 1}, 2, "1.50"),
        ({"mean": 0.5, "low": -0.125, "high": 1.0, "n": 5}, 3, "0.500 [-0.125, 1.000]"),
    ],
)
def test_numbers_are_written_with_their_spread(value, decimals, text):
    assert format_number(value, decimals) == text


@pytest.mark.parametrize(
    ("low", "mean", "high", "text"),
    [
        (0.005, 0.012, 0.019, "+1.20 [+0.50, +1.90] up"),
        (-0.019, -0.012, -0.005, "−1.20 [−1.90, −0.50] down"),
        (-0.005, 0.012, 0.029, "+1.20 [−0.50, +2.90] open"),
        (0.0, 0.01, 0.02, "+1.00 [+0.00, +2.00] open"),  # zero itself is not excluded
    ],
)
def test_differences_are_written_in_points_with_the_side_of_zero_that_they_lie_on(
    low, mean, high, text
):
    assert format_points({"mean": mean, "low": low, "high": high, "n": 5}) == text


def test_markdown_table_aligns_numbers_and_escapes_bars():
    table = markdown_table(
        ("name", "value", "note"), [("a|b", -1.5, "x\ny"), ("2", "–", "z"), ("c", "0.1", "w")]
    )
    assert table.splitlines() == [
        "| name | value | note |",
        "| --- | ---: | --- |",
        "| a\\|b | -1.5 | x y |",
        "| 2 | – | z |",
        "| c | 0.1 | w |",
    ]


def test_markdown_table_leaves_its_first_column_to_the_left():
    assert markdown_table(("n", "v"), [(1, 2), (3, 4)]).splitlines()[1] == "| --- | ---: |"


def test_the_environment_is_as_it_was(root):
    """The fixture points the library at a temporary project."""
    assert Path(os.environ["SOFTMI_ROOT"]) == root == project_root()


# --- Resampling -------------------------------------------------------------------------------


def test_interval_of_a_share_agrees_with_the_binomial_distribution():
    hits = np.repeat([1.0, 0.0], [400, 600])
    found = statistics.bootstrap_interval(hits, draws=40_000)
    # quantiles of Binomial(1000, 0.4); a quantile of 40,000 draws has a standard error of
    # sqrt(0.025 * 0.975 / 40000) / density = 0.0002, and steps are 0.001 wide
    low, high = scipy.stats.binom(1000, 0.4).ppf([0.025, 0.975]) / 1000
    assert found["mean"] == pytest.approx(0.4)
    assert found["n"] == 1000
    assert found["low"] == pytest.approx(low, abs=0.0015)
    assert found["high"] == pytest.approx(high, abs=0.0015)


def test_resampling_counts_of_values_is_resampling_the_values():
    values = np.random.default_rng(0).choice([-1.0, -0.5, 0.0, 1.0], 300)
    found = statistics.bootstrap_interval(values, draws=20_000, seed=1)
    picks = np.random.default_rng(2).integers(0, 300, (20_000, 300))
    low, high = np.quantile(values[picks].mean(1), [0.025, 0.975])
    # two Monte-Carlo quantiles, each with a standard error of about 0.0006
    assert found["low"] == pytest.approx(low, abs=4 * 2**0.5 * 0.0006)
    assert found["high"] == pytest.approx(high, abs=4 * 2**0.5 * 0.0006)


def test_groups_are_drawn_whole():
    values, groups = np.repeat([0.0, 1.0], 500), np.repeat([3, 7], 500)
    found = statistics.bootstrap_interval(values, groups)
    assert (found["low"], found["mean"], found["high"]) == (0.0, 0.5, 1.0)  # two groups only
    assert statistics.bootstrap_interval(values)["low"] > 0.45


def test_groups_of_one_value_each_are_the_plain_resampling():
    values = np.random.default_rng(3).normal(size=400)
    a = statistics.bootstrap_interval(values, draws=20_000)
    b = statistics.bootstrap_interval(values, range(400), draws=20_000, seed=1)
    # standard error of a mean 0.05; of its Monte-Carlo quantile 0.05 * 2.1 / sqrt(20000 / ...)
    assert a["low"] == pytest.approx(b["low"], abs=0.005)
    assert a["high"] == pytest.approx(b["high"], abs=0.005)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], np.ones((1, 2))])
def test_values_that_cannot_be_resampled_are_an_error(values):
    with pytest.raises(ValueError, match="finite values in one dimension"):
        statistics.bootstrap_interval(values)


def test_groups_of_another_length_are_an_error():
    with pytest.raises(ValueError, match="3 values and 2 groups"):
        statistics.bootstrap_interval([1.0, 2.0, 3.0], [0, 1])


# --- What chapters share ----------------------------------------------------------------------


def test_gather_summarises_each_number_over_the_seeds():
    found = statistics.gather([{"a": {"b": 1.0}, "c": 2}, {"a": {"b": 3.0}, "c": 2}])
    assert found["a"]["b"] == summarise([1.0, 3.0])
    assert found["c"]["mean"] == 2
    with pytest.raises(ValueError, match="no records"):
        statistics.gather([])


def test_shares_and_differences_are_written_in_percent_and_points():
    assert in_percent({"mean": 0.12345, "sd": None}, 2) == "12.35"
    assert in_percent(summarise([0.4, 0.6])) == "50.0 ± 14.1"
    assert in_points({"mean": -0.01, "low": -0.02, "high": 0.005}, 2) == "−1.00 [−2.00, +0.50]"


def test_the_provenance_table_has_a_row_a_run_and_skips_what_was_not_run(root):
    assert provenance_table("01_x") == "Nothing is archived yet."
    save_result("01_x", {"a": 1}, **RUN)
    header, _, row = provenance_table("01_x", "02_y").splitlines()
    assert header.startswith("| full run | when |")
    assert "`01_x.json`" in row
    assert "0, 1" in row


@pytest.mark.filterwarnings("error")
def test_the_paired_interval_is_scipys_and_a_point_where_all_differences_agree():
    ours, theirs = [0.52, 0.48, 0.55, 0.50], [0.41, 0.44, 0.46, 0.38]
    found = paired_difference(ours, theirs)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), rel=1e-12)
    same = paired_difference([0.5, 0.25], [0.25, 0.0])
    assert (same["low"], same["mean"], same["high"]) == (0.25, 0.25, 0.25)
