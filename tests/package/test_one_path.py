"""The book proves the library that it documents: there is no second implementation of it."""

import ast
import importlib
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "softmi" / "experiments").glob("*.py"))
PACKAGES = ("information", "losses", "synthetic", "estimators", "maps", "datasets", "models",
            "training", "metrics")  # fmt: skip
# What an experiment would compute itself by, and the public name that gives it.
INSTEAD = {
    r"interpolate\(.*bicubic": "softmi.map_to_picture",
    r"\bimport cv2\b|findContours|connectedComponents": "softmi.boxes_from_score_maps",
    r"\.clamp\(min=0\)\.prod\(|intersection": "softmi.box_iou",
    r"logsumexp\([^)]*prior": "softmi.pc_log_softmax",
    r"cross_entropy\([^)]*\+ *\w*prior": "softmi.pc_cross_entropy",
    r"argmax\([^)]*\) *== *\w+\)\.(float|double)\(\)\.mean": "torchmetrics, or softmi.metrics",
}


def public_names() -> set[str]:
    names = set()
    for package in PACKAGES:
        module = importlib.import_module(f"softmi.{package}")
        names |= {n for n in getattr(module, "__all__", vars(module)) if not n.startswith("_")}
    return names


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_defines_nothing_that_the_library_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = {node.name for node in tree.body if isinstance(node, kinds)}
    twice = defined & public_names()
    assert not twice, f"{path.name} defines {sorted(twice)}: import them from softmi"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_computes_by_the_public_functions(path):
    text = path.read_text(encoding="utf-8")
    for pattern, instead in INSTEAD.items():
        found = re.search(pattern, text)
        assert not found, f"{path.name}: {found[0]!r}: use {instead}"


@pytest.mark.parametrize(
    "code",
    [
        'maps = F.interpolate(cells, size=(64, 64), mode="bicubic")',
        "import cv2",
        "loss = F.cross_entropy(logits + log_prior, y)",
        "right = (logits.argmax(1) == y).float().mean()",
    ],
)
def test_a_second_implementation_would_be_noticed(code):
    assert any(re.search(pattern, code) for pattern in INSTEAD)


def lines_of_code(path: Path) -> int:
    """Lines without docstrings, comments and blanks."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    strings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            strings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    empty = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
             tokenize.ENDMARKER)  # fmt: skip
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in empty:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - strings)


MODULES = sorted((ROOT / "softmi").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT / "softmi").as_posix())
def test_a_module_is_one_idea(path):
    lines, code = len(path.read_text(encoding="utf-8").splitlines()), lines_of_code(path)
    assert lines <= 400, f"{path.name}: {lines} lines, 400 at most: split it by idea"
    assert code <= 250, f"{path.name}: {code} lines of code, 250 at most: split it by idea"
