"""The look of the figures: colours that can be told apart, files that stay the same."""

import colorsys
import itertools
from functools import partial

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex, to_rgb  # noqa: E402

from softmi.evidence.figures import (  # noqa: E402
    DARK_GROUND,
    HUES,
    METHOD_COLOURS,
    colour,
    dark_style,
    hue,
    label_line,
    save_figure,
    use_style,
)
from softmi.experiments.long_tailed_losses_figures import ink  # noqa: E402
from softmi.experiments.loss_table import LOSSES  # noqa: E402


@pytest.fixture(autouse=True)
def own_settings():
    with matplotlib.rc_context():
        yield
    plt.close("all")


def figure():
    fig, axes = plt.subplots()
    axes.plot([0, 1, 2], [1, 0, 2], color=colour("PC-softmax"))
    label_line(axes, 2.0, 2.0, "PC-softmax")
    return fig


def luminance(c: str) -> float:
    rgb = np.array(to_rgb(c))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)  # WebAIM's example


each_colour = pytest.mark.parametrize(
    "shown",
    [
        *(pytest.param(partial(colour, method), id=method) for method in METHOD_COLOURS),
        *(pytest.param(partial(hue, name), id=name) for name in HUES),
    ],
)


@each_colour
def test_colours_stand_out_from_the_white_card(shown):
    assert contrast(shown(), "#FFFFFF") > 2  # a line, not text: none fades into white


@each_colour
def test_colours_can_be_read_on_the_dark_page(shown):
    with dark_style():
        assert contrast(shown(), DARK_GROUND) >= 4.5  # lines are labelled in their colour


def test_text_and_marks_can_be_read_on_the_dark_page():
    with dark_style():
        for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"):
            assert contrast(plt.rcParams[name], DARK_GROUND) >= 4.5
        fig, axes = plt.subplots()
        bars = axes.errorbar([0, 1], [0, 1], [0.1, 0.1], color=colour("CAM"))[2]
        drawn = [fig.get_facecolor(), axes.get_facecolor()]
        lines = [axes.plot([0, 1])[0].get_color(), *(b.get_color()[0] for b in bars)]
    assert all(to_hex(ground) == DARK_GROUND for ground in drawn)
    assert all(contrast(line, DARK_GROUND) >= 3 for line in lines)


@each_colour
def test_a_method_has_the_same_hue_in_light_and_dark(shown):
    light = shown()
    with dark_style():
        dark = shown()
    (before, _, depth), (after, _, _) = (colorsys.rgb_to_hls(*to_rgb(c)) for c in (light, dark))
    assert light != dark
    assert depth == 0 or abs(before - after) < 6 / 360  # greys have no hue


def test_the_dark_style_ends_with_its_block():
    use_style()
    plt.rcParams["image.interpolation"] = "nearest"
    before = dict(plt.rcParams)
    with dark_style():
        assert plt.rcParams["figure.facecolor"] == DARK_GROUND
        assert plt.rcParams["image.interpolation"] == "nearest"  # what a chapter set for itself
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "together",
    [
        ("truth", "PC-softmax", "softmax + H(Y)", "softmax + log M", "post-hoc"),
        # A row with a hue that does not exist is named by tests/experiments/test_loss_table.py.
        (*(n for n, row in LOSSES.items() if row.hue in ("", *HUES)), "post-hoc", "truth"),
        ("CAM", "infoCAM", "infoCAM+", "rivals", "centred box", "true box"),
    ],
    ids=["estimates", "losses", "maps"],
)
def test_methods_that_share_a_figure_have_different_colours(together, dark):
    use_style(dark=dark)
    for a, b in itertools.combinations(together, 2):
        assert np.abs(np.subtract(to_rgb(ink(a)), to_rgb(ink(b)))).sum() > 0.25, (
            f"{a} and {b} look alike: give one another colour"
        )


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(KeyError, match=r"no colour for 'CAMM'; known: \['CAM'"):
        colour("CAMM")
    with pytest.raises(KeyError, match="no hue 'mauve'; known: blue, orange"):
        hue("mauve")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figure_gives_the_same_file(suffix, tmp_path):
    use_style()
    first = save_figure(figure(), tmp_path / f"a{suffix}").read_bytes()
    second = save_figure(figure(), tmp_path / "new" / f"b{suffix}").read_bytes()
    assert first == second
    assert b"Date" not in first.split(b"<defs>")[0]
    assert not plt.get_fignums()  # saved figures are closed


def test_style_is_readable_at_the_width_of_the_page():
    use_style()
    width = plt.rcParams["figure.figsize"][0] * plt.rcParams["figure.dpi"]
    assert width == pytest.approx(720)
    for name in ("font.size", "axes.titlesize", "xtick.labelsize", "legend.fontsize"):
        assert plt.rcParams[name] >= 9


@pytest.mark.parametrize(("text", "shown"), [(None, "infoCAM"), ("ours", "ours")])
def test_lines_are_labelled_in_their_colour(text, shown):
    _, axes = plt.subplots()
    label_line(axes, 1.0, 2.0, "infoCAM", text)
    (note,) = axes.texts
    assert note.get_text() == shown
    assert note.get_color() == colour("infoCAM")
