"""The guard of the notebooks: each pair is in step, executed, checkable and part of the book.

nbval alone would not do: it passes a notebook that was never run. Nothing is executed here.
"""

import ast
import re
from functools import cache

import papermill
import pytest
import yaml
from nbformat import NotebookNode

from tools.notebooks import ROOT, Pair, code_cells, find_pairs, read_claims, same_cells

PAIRS = find_pairs()
CHECKED = "nbval-check-output"
PARAMETERS = {"profile", "seed", "device"}
LARGEST = 600 * 1024


def require(condition: object, message: str) -> None:
    """Fail with the message alone: what is wrong is in the notebook, not in a traceback."""
    if not condition:
        pytest.fail(message, pytrace=False)


each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.slug)


def again(pair: Pair) -> str:
    return f"Mend it with: make notebooks NB={pair.slug[:2]}"


@cache
def built(pair: Pair) -> NotebookNode:
    notebook = pair.read_built()
    if notebook is None:
        pytest.skip("missing or unreadable: test_is_up_to_date says so")
    return notebook


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def first_line(cell: NotebookNode) -> str:
    return repr(cell.source.strip().split("\n")[0])


def listed(cells: list[NotebookNode]) -> str:
    return "; ".join(f"cell [{cell.get('execution_count')}] {first_line(cell)}" for cell in cells)


def headings(notebook: NotebookNode) -> list[str]:
    markdown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    prose = [re.sub(r"^```.*?^```", "", text, flags=re.M | re.S) for text in markdown]
    return [title for text in prose for title in re.findall(r"^# +(.+?) *$", text, flags=re.M)]


def test_there_are_notebooks_and_each_has_its_source():
    sources = {pair.slug for pair in PAIRS}
    require(sources, "no notebooks/NN_slug.py")
    orphans = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} - sources
    require(not orphans, f"no .py beside {sorted(orphans)}: add it, it is the source")


@each_pair
def test_pair_has_the_same_cells(pair):
    same = same_cells(pair.read_source(), built(pair))
    require(same, f"{pair.slug}: the .ipynb and the .py differ. Edit the .py only. {again(pair)}")


@each_pair
def test_every_code_cell_was_executed(pair):
    unrun = [cell for cell in code_cells(built(pair)) if cell.execution_count is None]
    require(not unrun, f"{pair.slug}: never executed: {listed(unrun)}. {again(pair)}")


@each_pair
def test_cells_were_executed_in_order_from_a_fresh_kernel(pair):
    counts = [cell.execution_count for cell in code_cells(built(pair))]
    in_order = list(range(1, len(counts) + 1))
    require(counts == in_order, f"{pair.slug}: execution counts are {counts}. {again(pair)}")


@each_pair
def test_is_up_to_date(pair):
    reason = pair.why_stale()
    require(reason is None, f"{pair.slug}.ipynb is stale: {reason}. {again(pair)}")


@each_pair
def test_outputs_are_those_of_the_smoke_profile(pair):
    profile = built(pair).metadata.get("softmi", {}).get("profile")
    require(profile == "smoke", f"{pair.slug}: outputs of profile {profile}. {again(pair)}")


@each_pair
def test_one_cell_of_parameters_with_smoke_as_default(pair):
    cells = tagged(built(pair), "parameters")
    require(len(cells) == 1, f"{pair.slug}: has {len(cells)} cells tagged `parameters`, not one")
    found = papermill.inspect_notebook(pair.built)
    missing = PARAMETERS - set(found)
    require(not missing, f"{pair.slug}: its `parameters` cell does not set {sorted(missing)}")
    profile = found["profile"]["default"]
    require(profile == '"smoke"', f"{pair.slug}: the default profile is {profile}, not smoke")


@each_pair
def test_no_papermill_metadata_is_left(pair):
    for name, notebook in {".py": pair.read_source(), ".ipynb": built(pair)}.items():
        injected = tagged(notebook, "injected-parameters")
        require(not injected, f"{pair.slug}{name}: holds an injected cell: {listed(injected)}")
    require("papermill" not in built(pair).metadata, f"{pair.slug}: papermill left. {again(pair)}")
    left = [cell for cell in built(pair).cells if {"papermill", "execution"} & set(cell.metadata)]
    require(not left, f"{pair.slug}: run metadata in {listed(left)}. {again(pair)}")


@each_pair
def test_some_output_is_checked(pair):
    cells = tagged(built(pair), CHECKED)
    require(cells, f"{pair.slug}: tag at least one cell `{CHECKED}`, or nbval compares nothing")
    silent = [cell for cell in cells if not cell.outputs]
    require(not silent, f"{pair.slug}: checked, but without output: {listed(silent)}")


@each_pair
def test_no_checked_cell_ends_with_a_semicolon(pair):
    # nbval shows the value that a semicolon hides from papermill, and then finds a difference.
    cells = [cell for cell in tagged(built(pair), CHECKED) if cell.source.rstrip().endswith(";")]
    require(not cells, f"{pair.slug}: assign to `_` instead of ending with `;`: {listed(cells)}")


@each_pair
def test_no_warnings_or_errors_in_outputs(pair):
    for cell in code_cells(built(pair)):
        for output in cell.outputs:
            bad = output.output_type == "error" or output.get("name") == "stderr"
            text = output.get("text") or output.get("evalue", "")
            require(not bad, f"{pair.slug}: {listed([cell])} wrote: {text[:300]}")


@each_pair
def test_every_figure_has_a_text_in_its_place(pair):
    for cell in code_cells(built(pair)):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            enough = len(alt.split()) >= 8
            require(enough, f"{pair.slug}: no alt text of what {listed([cell])} shows")


@each_pair
def test_the_headline_figure_comes_in_light_and_dark(pair):
    cells = list(code_cells(pair.read_source()))
    images = [cell.metadata.get("mystnb", {}).get("image", {}) for cell in cells]
    if not any(images):
        return  # a chapter without figures
    drawn = [(image["classes"], image["alt"]) for image in images if "classes" in image]
    classes, texts = [c for c, _ in drawn], {alt for _, alt in drawn}
    paired = classes == ["only-light", "only-dark"] and len(texts) == 1
    require(paired, f"{pair.slug}: not one pair of light and dark with one alt text: {drawn}")
    # Named once: the number and the caption stand below the pair, whichever of the two is shown.
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
    names = [figure["name"] for figure in figures if "name" in figure]
    text = pair.source.read_text(encoding="utf-8")
    referred = len(names) == 1 and f"{{numref}}`{names[0]}`" in text
    require(referred, f"{pair.slug}: one figure needs a name that the text refers to, got {names}")


@each_pair
def test_cells_are_plain_python(pair):
    # A cell that starts with a magic passes under nbval whatever follows it.
    for cell in code_cells(pair.read_source()):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            require(False, f"{pair.slug}: not Python: {first_line(cell)}: {error}")


@each_pair
def test_kernel_is_python3(pair):
    kernel = built(pair).metadata.get("kernelspec", {}).get("name")
    require(kernel == "python3", f"{pair.slug}: kernel {kernel!r} is not python3. {again(pair)}")


@each_pair
def test_file_is_small(pair):
    built(pair)
    size = pair.built.stat().st_size
    require(size <= LARGEST, f"{pair.slug}: {size // 1024} KB, over 600: fewer or smaller figures")


@each_pair
def test_title_is_the_only_h1_and_a_question(pair):
    titles = headings(pair.read_source())
    require(len(titles) == 1, f"{pair.slug}: headings of level one: {titles}; keep one")
    require(titles[0].endswith("?"), f"{pair.slug}: the title {titles[0]!r} should be a question")


@each_pair
def test_is_a_page_of_the_book(pair):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    page = f"notebooks/{pair.slug}"
    require(page in files, f"{pair.slug}: add `{page}` to _toc.yml")


@each_pair
def test_has_a_claim(pair):
    slugs = {claim.get("notebook") for claim in read_claims()}
    require(pair.slug in slugs, f"{pair.slug}: no entry of claims/*.yml names it as its notebook")


# --- The size of a chapter --------------------------------------------------------------------

LONGEST, LONGEST_FUNCTION = 450, 10


@each_pair
def test_chapter_is_short_and_leaves_machinery_to_its_experiment(pair):
    lines = len(pair.source.read_text(encoding="utf-8").splitlines())
    require(
        lines <= LONGEST,
        f"{pair.slug}: {lines} lines, {LONGEST} at most; move code to softmi/experiments",
    )
    for name, size in functions(pair).items():
        require(
            size <= LONGEST_FUNCTION,
            f"{pair.slug}: {name} has {size} lines; move it to softmi/experiments, with a test",
        )


def test_nothing_is_defined_in_two_chapters():
    homes: dict[str, list[str]] = {}
    for pair in PAIRS:
        for name in functions(pair):
            homes.setdefault(name, []).append(pair.slug)
    twice = {name: slugs for name, slugs in homes.items() if len(slugs) > 1}
    require(not twice, f"defined in two chapters: {twice}; give it one home in softmi")


def functions(pair: Pair) -> dict[str, int]:
    """Functions and classes that a chapter defines, and their lengths."""
    code = "\n".join(cell.source for cell in code_cells(pair.read_source()))
    defined = (ast.FunctionDef, ast.ClassDef)
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, defined)]
    return {node.name: node.end_lineno - node.lineno + 1 for node in nodes}


LINK = re.compile(r"\[[^]]*?\b(\d\d)\]\([^)]*notebooks/(\d\d)_")


def test_a_link_to_a_chapter_says_its_number():
    """They were numbered anew once, and [05] led to chapter 07 for a while."""
    sources = [ROOT / "README.md", *(ROOT / "book").glob("*.md")]
    links = [(p.name, *found) for p in sources for found in LINK.findall(p.read_text("utf-8"))]
    assert len(links) > 20
    assert [link for link in links if link[1] != link[2]] == []
