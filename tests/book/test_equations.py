"""From paper to code: each source names a paper and has a test, each marker names a source."""

import inspect
import re
import subprocess
import sys

import pytest

import softmi.losses
from tools.book import equations
from tools.book.equations import Reference

KNOWN = ["qin2019"]
SOURCE = Reference("qin2019", "eq. 8", "pc_softmax", "softmi.losses.prior_corrected")
TEST = Reference("qin2019", "eq. 8", "test_pc_softmax_by_hand", "tests/losses/test_x.py")


def test_papers_functions_and_tests_of_the_project_name_each_other():
    read = equations.keys(), equations.sources(), equations.paper_tests()
    found = "\n".join(equations.problems(*read))
    if found:
        pytest.fail(found, pytrace=False)


def test_every_public_loss_says_where_it_is_from_or_refers_to_one_that_does():
    for name in softmi.losses.__all__:
        thing = getattr(softmi.losses, name)
        text = inspect.getdoc(thing) if inspect.isfunction(thing) or inspect.isclass(thing) else ""
        if text and not re.search(r"\nSource: |:(func|class):`\w+`", text):
            told = f"end the docstring of softmi.losses.{name} with `Source: key, item.`"
            pytest.fail(told, pytrace=False)


def test_what_is_missing_is_named_with_what_to_do():
    assert list(equations.problems(KNOWN, [SOURCE], [TEST])) == []
    (untested,) = equations.problems(KNOWN, [SOURCE], [])
    assert "prior_corrected.pc_softmax implements qin2019, eq. 8" in untested
    assert 'write @pytest.mark.paper("qin2019", "eq. 8")' in untested
    (unnamed,) = equations.problems(KNOWN, [], [TEST])
    assert "test_x.py::test_pc_softmax_by_hand" in unnamed
    assert "`Source: qin2019, eq. 8.`" in unnamed
    wrong = list(equations.problems([], [SOURCE], [TEST]))
    assert [("references.bib" in line) for line in wrong] == [True, True]
    table = Reference("qin2019", "table 2", "test_table", "tests/x.py")
    assert list(equations.problems(KNOWN, [SOURCE], [TEST, table])) == []


def test_a_source_line_is_read_wherever_it_breaks():
    text = "Adds.\n\nArgs:\n    a: One.\n\nSource: qin2019, eq. 8; ren2020,\nbalanced softmax."
    assert equations.parse_sources(text) == [("qin2019", "eq. 8"), ("ren2020", "balanced softmax")]
    assert equations.parse_sources("Adds.") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Adds.\n\nSource: qin2019, eq. 8.\n\nArgs:\n    a: One.", "must be the last"),
        ("Adds.\n\nSource: qin2019, eq. 8", "write it as `Source: key, item; key, item.`"),
        ("Adds.\n\nSource: qin2019.", "got `Source: qin2019.`"),
        ("Adds.\n\nSee Source: qin2019, eq. 8.", "write it as"),
    ],
)
def test_a_malformed_source_line_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        equations.parse_sources(text)


def test_the_page_leads_from_the_paper_to_function_chapter_and_test():
    page = equations.equations_page()
    _, _, part = page.partition("## Qin et al. (2019)")
    (row,) = [
        line for line in part.partition("\n## ")[0].splitlines() if "`softmi.pc_softmax`" in line
    ]
    assert row.startswith("| PC-softmax | {py:func}`softmi.pc_softmax` | [01](../notebooks/01_")
    assert "`tests/losses/test_prior_corrected.py`" in row


@pytest.mark.minutes  # starts a second pytest, for the sake of a list
def test_pytest_lists_tests_by_paper_and_runs_none(pytestconfig):
    command = [sys.executable, "-m", "pytest", "--papers", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/losses/test_margins.py"],
        cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    heading = done.stdout.index("cao2019, LDAM loss")
    assert "test_margins.py::test_ldam_by_hand" in done.stdout[heading:]
    assert " passed" not in done.stdout
