"""The figures of "Try it": their data are what the library computes, and they respond to keys."""

import math
import shutil

import numpy as np
import play_numbers
import pytest
import torch
from play_numbers import (
    CLASSIFIERS,
    CONTRASTS,
    METHODS,
    POSITIONS,
    SIZE,
    STATIC,
    THRESHOLDS,
    UNIT,
)

pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")

from softmi import box_iou, boxes_from_score_maps, entropy, mutual_information
from softmi.evidence.figures import colour
from tools.notebooks import ROOT

DATA = play_numbers.load()
PRIOR, SCENES = DATA["prior"], DATA["scenes"]["scenes"]
HALF = 0.51e-4  # numbers are rounded to four places
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FIGURES = ("prior", "threshold", "nats")


# The class prior


@pytest.mark.parametrize("position", [0, 7, 20, POSITIONS - 1])
def test_truth_and_ceiling_are_those_of_the_task(position):
    task = play_numbers.task_at(position)
    assert PRIOR["truth"][position] == pytest.approx(task.mutual_information().value, abs=HALF)
    ceiling = float(entropy(task.prior))
    assert PRIOR["label_entropy"][position] == pytest.approx(ceiling, abs=HALF)
    ratio = float(task.prior[0] / task.prior[-1])
    assert PRIOR["imbalance"][position] == pytest.approx(ratio, abs=HALF)
    assert PRIOR["prior"][position] == pytest.approx(task.prior.tolist(), abs=HALF)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("position", [0, 20, POSITIONS - 1])
def test_readings_are_what_mutual_information_estimates_from_samples(classifier, position):
    task = play_numbers.task_at(position)
    x, y = task.sample(100_000, torch.Generator().manual_seed(position))
    plain, corrected = play_numbers.classifier_logits(task, classifier, x)
    found = {key: values[position] for key, values in PRIOR["readings"][classifier].items()}
    for key, logits, is_corrected in (("entropy", plain, False), ("pc", corrected, True)):
        estimate = mutual_information(logits, y, task.prior, prior_corrected=is_corrected)
        assert abs(found[key] - estimate.value) < 4 * estimate.standard_error + HALF
    over_count = math.log(5) - float(entropy(task.prior))
    assert found["log_m"] - found["entropy"] == pytest.approx(over_count, abs=2 * HALF)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_readings_with_the_right_constant_are_lower_bounds_at_every_position(classifier):
    truth, found = np.array(PRIOR["truth"]), PRIOR["readings"][classifier]
    assert (np.array(found["entropy"]) <= truth + 2 * HALF).all()
    assert (np.array(found["pc"]) <= truth + 2 * HALF).all()


def test_the_best_classifier_reads_the_truth_and_log_m_exceeds_what_is_possible():
    found, truth = PRIOR["readings"]["best"], PRIOR["truth"]
    assert found["entropy"] == pytest.approx(truth, abs=2 * HALF)
    assert found["pc"] == pytest.approx(truth, abs=2 * HALF)
    assert found["log_m"][0] == pytest.approx(truth[0], abs=2 * HALF)  # even classes
    assert found["log_m"][-1] > found["log_m"][0] + 0.1
    assert found["log_m"][-1] > PRIOR["label_entropy"][-1] + 0.2


# Scenes and maps


@pytest.fixture(scope="module")
def recomputed():
    return play_numbers.scene_data()


def test_scenes_and_maps_are_those_of_the_kept_network(recomputed):
    for kept, made in zip(SCENES, recomputed["scenes"], strict=True):
        assert {k: v for k, v in kept.items() if k != "maps"} == {
            k: v for k, v in made.items() if k != "maps"
        }
        for name in CONTRASTS:
            a, b = kept["maps"][name], made["maps"][name]
            # Sums of 288 products in float32 by another order: far below the last digit shown.
            assert np.abs(np.subtract(a["cells"], b["cells"])).max() <= 2
            assert a["against"] == b["against"]
            for key in ("bias", "prior", "pmi", "logit"):
                assert a.get(key) == pytest.approx(b.get(key), abs=1e-3)


def test_curves_are_those_of_max_box_accuracy(recomputed):
    assert DATA["scenes"]["accuracy"] == recomputed["accuracy"]
    for name in CONTRASTS:
        kept, made = DATA["scenes"]["curves"][name], recomputed["curves"][name]
        assert len(kept) == THRESHOLDS
        # A cell that rounds to its neighbour can move a box over the line, in a scene or two.
        assert np.abs(np.subtract(kept, made)).max() <= 2


@pytest.mark.parametrize("name", CONTRASTS)
def test_boxes_are_those_of_the_maps_shown(name):
    cells = torch.tensor([scene["maps"][name]["cells"] for scene in SCENES]).view(-1, 12, 12)
    scores = play_numbers.enlarge(cells)
    boxes = torch.tensor([scene["maps"][name]["boxes"] for scene in SCENES]).view(
        -1, THRESHOLDS, 4
    )
    for i in range(THRESHOLDS):
        expected = boxes_from_score_maps(scores, i * (1 / THRESHOLDS))
        assert torch.equal(boxes[:, i], expected)


@pytest.mark.parametrize("scene", SCENES, ids=lambda s: str(s["digit"]))
def test_cells_bias_and_prior_add_up_to_the_difference_of_pmis(scene):
    rounding = 144 * UNIT / 2 + 3 * HALF + 1e-4  # of the cells, of the three terms, of float32
    for name in CONTRASTS:
        kind = scene["maps"][name]
        total = UNIT * sum(kind["cells"]) + kind["bias"]
        expected = kind["logit"] if name == "cam" else kind["pmi"] + kind["prior"]
        assert total == pytest.approx(expected, abs=rounding)


def test_the_last_scene_is_the_first_that_the_network_misreads():
    assert [s["digit"] == s["predicted"] for s in SCENES] == [True] * 5 + [False]


# Files


def test_data_file_is_small_and_has_the_colours_of_the_book():
    assert play_numbers.FILE.stat().st_size < 100_000
    assert DATA["colours"] == {key: colour(method) for key, method in METHODS.items()}


def test_every_figure_has_a_picture_for_readers_without_javascript():
    page = (ROOT / "book" / "play.md").read_text(encoding="utf-8")
    assert "- file: book/play\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert "<noscript>" in page
    made = {path.name for path in STATIC.iterdir()}
    for figure in FIGURES:
        assert f"(try-{figure})=" in page
        block = page.split(f":::{{div}} play play-{figure}-figure\n")[1].split("\n:::")[0]
        for mode in ("light", "dark"):
            names = {n for n in made if n.startswith(f"play-{figure}-{mode}.")}
            (name,) = names
            assert f"_static/{name}\n:figclass: only-{mode}\n:alt: " in block
            assert (STATIC / name).stat().st_size < 100_000
    for name in ("play.css", "play-data.js", "play.js"):
        assert f'"../_static/{name}"' in page
        assert (STATIC / name).exists()


def test_script_asks_for_nothing_from_outside():
    text = (STATIC / "play.js").read_text(encoding="utf-8")
    for word in ("fetch(", "XMLHttpRequest", "import(", "https:"):
        assert word not in text
    assert text.count("http:") == text.count("http://www.w3.org/2000/svg")


# The reader


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip(
        "playwright.sync_api", reason="the figures are not tested: pip install playwright"
    )
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("the figures are not tested: install Chromium, `apt install chromium`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page that holds the three figures and nothing else, read from the disk."""
    blocks = "".join(
        f'<div class="play play-{name}-figure"><img alt="static picture" width="300"></div>'
        for name in FIGURES
    )
    head = f'<link rel="stylesheet" href="{(STATIC / "play.css").as_uri()}">'
    scripts = "".join(
        f'<script src="{(STATIC / name).as_uri()}"></script>'
        for name in ("play-data.js", "play.js")
    )
    path = tmp_path_factory.mktemp("play") / "play.html"
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Try it</title>'
        f'<meta name="viewport" content="width=device-width">{head}</head>'
        f"<body>{blocks}{scripts}</body></html>",
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def opened(browser, address):
    """One page for all tests of a width of 375, with what went wrong on it."""
    context = browser.new_context(viewport={"width": 375, "height": 800}, has_touch=True)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else problems.append(r.url),
    )
    page.goto(address)
    yield page, problems
    assert problems == []
    context.close()


def plain(text):
    """A number as the page writes it."""
    return float(text.replace("−", "-").split()[0])


def fact(figure, key):
    return figure.locator(f'[data-fact="{key}"]').inner_text()


def test_pictures_stay_without_javascript_or_data(browser, address):
    for options, blocked in (({"java_script_enabled": False}, ""), ({}, "**/play-data.js")):
        context = browser.new_context(**options)
        page = context.new_page()
        if blocked:
            page.route(blocked, lambda route: route.abort())
        page.goto(address)
        assert page.locator('img[alt="static picture"]').count() == 3
        context.close()


def test_figures_replace_their_pictures_and_fit_a_phone(opened):
    page, problems = opened
    assert page.locator("img").count() == 0
    assert page.locator(".play-live").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert problems == []


def test_prior_slider_shows_the_numbers_of_each_position(opened):
    figure = opened[0].locator(".play-prior-figure")
    slider, choice = figure.locator("input"), figure.locator("select")
    slider.focus()
    slider.press("Home")
    for position in (0, 1, 2, 13, POSITIONS - 1):
        while int(slider.input_value()) < position:
            slider.press("ArrowRight")
        for key in ("truth", "label_entropy"):
            assert plain(fact(figure, key)) == pytest.approx(PRIOR[key][position], abs=6e-4)
        for key, values in PRIOR["readings"]["best"].items():
            assert plain(fact(figure, key)) == pytest.approx(values[position], abs=6e-4)
    log_m = figure.locator('tr:has([data-fact="log_m"])').inner_text()
    assert "above the ceiling" in log_m
    assert "100 : 1" in slider.get_attribute("aria-valuetext")
    assert "more than the label has to tell" in figure.locator("[aria-live]").inner_text()
    label = figure.locator('svg[role="img"]').nth(1).get_attribute("aria-label")
    assert f"log M − CE {PRIOR['readings']['best']['log_m'][-1]:.2f}" in label
    choice.focus()
    choice.press("End")
    assert choice.input_value() == "even"
    for key, values in PRIOR["readings"]["even"].items():
        assert plain(fact(figure, key)) == pytest.approx(values[-1], abs=6e-4)


@pytest.mark.parametrize(("scene", "name", "step"), [(0, "cam", 20), (2, "rivals_3", 33), (5, "infocam_plus", 3)])  # fmt: skip  # noqa: E501
def test_threshold_slider_shows_region_box_iou_and_accuracy(opened, scene, name, step):
    figure = opened[0].locator(".play-threshold-figure")
    slider, selects = figure.locator("input"), figure.locator("select")
    selects.nth(0).select_option(name)
    selects.nth(1).select_option(str(scene))
    slider.focus()
    slider.press("Home")
    for _ in range(step):
        slider.press("ArrowRight")
    kept = SCENES[scene]
    scores = play_numbers.enlarge(torch.tensor(kept["maps"][name]["cells"]).view(1, 12, 12))
    box = boxes_from_score_maps(scores, step / THRESHOLDS)
    levels = ((scores - scores.min()) / (scores.max() - scores.min()) * 255).floor()
    above = int((levels > int(step * (1 / THRESHOLDS) * 255)).sum())
    region = figure.locator('[data-fact="region"]')
    # Bicubic weights are summed by another order here: a pixel may round to the next byte.
    assert abs(int(region.get_attribute("data-pixels")) - above) <= 1
    assert plain(region.inner_text()) == pytest.approx(100 * above / SIZE**2, abs=0.6)
    shown = figure.locator('[data-fact="box"]')
    assert shown.get_attribute("data-box") == " ".join(str(v) for v in box[0].tolist())
    iou = float(box_iou(box[0], torch.tensor(kept["box"])))
    text = fact(figure, "iou")
    assert plain(text) == pytest.approx(iou, abs=6e-3)
    assert text.endswith("✓" if iou >= 0.5 else "✗")
    right = DATA["scenes"]["curves"][name][step]
    count = DATA["scenes"]["count"]
    assert plain(fact(figure, "accuracy")) == pytest.approx(100 * right / count, abs=0.6)
    assert f"Of all {count} scenes {right} are right" in figure.locator("[aria-live]").inner_text()


def test_arrow_keys_read_the_map_cell_by_cell(opened):
    figure = opened[0].locator(".play-nats-figure")
    pad, selects = figure.locator(".play-pad"), figure.locator("select")
    for name, scene in (("rivals_1", 1), ("infocam", 4), ("cam", 5)):
        selects.nth(0).select_option(name)
        selects.nth(1).select_option(str(scene))
        kept = SCENES[scene]
        cells = UNIT * np.array(kept["maps"][name]["cells"]).reshape(12, 12)
        pad.focus()
        for key in ["Home"] + 12 * ["ArrowUp"] + 4 * ["ArrowDown"] + 3 * ["ArrowRight"]:
            pad.press(key)
        # Share of each cell in the box, pixel by pixel.
        x0, y0, x1, y1 = kept["box"]
        mask = np.zeros((SIZE, SIZE))
        mask[y0:y1, x0:x1] = 1
        inside = (cells * mask.reshape(12, 4, 12, 4).mean((1, 3))).sum()
        for key, expected in (
            ("cell", cells[4, 3]), ("row", cells[4].sum()), ("inside", inside),
            ("outside", cells.sum() - inside), ("total", cells.sum()),
        ):  # fmt: skip
            assert plain(fact(figure, key)) == pytest.approx(expected, abs=6e-3)
        assert "Row 5, column 4" in figure.locator("[aria-live]").inner_text()
        label = pad.locator("svg").get_attribute("aria-label")
        assert "row 5, column 4" in label
    pad.press("End")
    assert "Row 5, column 12" in figure.locator("[aria-live]").inner_text()


def test_the_account_of_nats_says_the_difference_of_pmis(opened):
    figure = opened[0].locator(".play-nats-figure")
    selects = figure.locator("select")
    for name in list(CONTRASTS)[1:]:
        selects.nth(0).select_option(name)
        selects.nth(1).select_option("3")
        text = figure.locator(".play-account").inner_text()
        by_cells, by_pmi = (plain(part.split("= ")[-1]) for part in text.split("\n"))
        pmi = SCENES[3]["maps"][name]["pmi"]
        assert by_pmi == pytest.approx(pmi, abs=6e-3)
        assert by_cells == pytest.approx(pmi, abs=2e-2)  # both are rounded to two places


def test_pointer_and_finger_read_the_cell_below_them(opened):
    page, _ = opened
    figure = page.locator(".play-nats-figure")
    picture = figure.locator(".play-pad svg")
    picture.scroll_into_view_if_needed()
    place = picture.bounding_box()
    at = {"x": place["width"] * 10.5 / 12, "y": place["height"] * 2.5 / 12}
    picture.hover(position=at)
    assert "Row 3, column 11" in figure.locator("[aria-live]").inner_text()
    picture.tap(position={"x": at["y"], "y": at["x"]})
    assert "Row 11, column 3" in figure.locator("[aria-live]").inner_text()


def test_tab_reaches_every_control_and_each_has_a_name(opened):
    page, _ = opened
    page.evaluate("document.activeElement.blur()")
    page.locator("body").click(position={"x": 1, "y": 1})
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "[document.activeElement.tagName, document.activeElement.getAttribute('aria-label') ||"
            " (document.activeElement.labels || [{}])[0].textContent]"
        ))  # fmt: skip
    prior, threshold, nats = ["INPUT", "SELECT"], ["INPUT", "SELECT", "SELECT"], ["SELECT"] * 2
    assert [tag for tag, _ in reached] == [*prior, *threshold, *nats, "DIV"]
    assert all(name for _, name in reached)
