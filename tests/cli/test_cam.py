"""The command `softmi cam`: the library's numbers, a picture that shows them, and its page."""

import copy
import io
import json
import os
import pickle
import re
import shlex
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torchvision import models

from softmi.cli import _cam_figure, cam, main
from softmi.cli._cam_figure import AGAINST, BOX, FOR, cam_figure, png
from softmi.maps import ActivationMaps, boxes_from_score_maps
from softmi.models import GAPNet
from tools.notebooks import ROOT

# A small network, and 3 x 3 cells: quick on any machine.
NAME, SIZE, CLASSES = "gapnet", 12, 5
PRIOR = [0.4, 0.1, 0.2, 0.05, 0.25]
WORDS = ["ant", "Bee", "crane", "Éland", "crane"]
CONTRASTS = ["mean", "least", "rivals", "none"]
PAGE = (ROOT / "book" / "localise.md").read_text(encoding="utf-8")


def network(seed: int = 0) -> nn.Module:
    """Random, with a head that makes logits of a few nats."""
    torch.manual_seed(seed)
    model = GAPNet(CLASSES, channels=3)
    nn.init.normal_(model.head.weight)
    nn.init.normal_(model.head.bias)
    x = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for _ in range(20):  # running statistics, without which features would fade
            model(3 * x - 1.5)
    return model.eval()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Images are small: threads would wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network()


@pytest.fixture
def here(tmp_path, monkeypatch, model) -> Path:
    """A folder with an image, weights, names and a prior, and no way to any network.

    The picture is made up and not painted, in which most of the time would go: `painted` does.
    """

    def refuse(*_, **__):
        raise AssertionError("the command asked for a network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(_cam_figure, "png", lambda _: b"\x89PNG, but of nothing")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels()).save("photo.png")
    torch.save(model.state_dict(), "weights.pt")
    Path("names.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    np.savetxt("prior.txt", PRIOR)
    return tmp_path


@pytest.fixture
def painted(here, monkeypatch) -> None:
    """Pictures are painted, small ones."""
    monkeypatch.setattr(_cam_figure, "png", png)
    monkeypatch.setattr(_cam_figure, "DPI", 40)


def pixels(width: int = 120, height: int = 60, seed: int = 0) -> np.ndarray:
    """Noise, bright on one side, so that maps are not even."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None]
    return (ramp + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)


COMMAND = ["cam", "photo.png", "--weights", "weights.pt", "--model", NAME, "--size", str(SIZE)]


def asked(capsys, *arguments: str, command: list[str] = COMMAND) -> dict:
    """What the command says in JSON, read as strictly as JSON is."""
    assert main([*command, *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def look(model: nn.Module, prior: list[float] | None = None):
    """The library's account, of pixels prepared here."""
    image = Image.fromarray(pixels()).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with ActivationMaps(model, prior=prior) as maps:
        return maps((x - mean[:, None, None]) / std[:, None, None])


# --- Numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["logits", "PMI"])
@pytest.mark.parametrize("against", CONTRASTS)
@pytest.mark.usefixtures("here")
def test_json_holds_the_numbers_of_activation_maps(capsys, model, against, prior):
    options = ["--against", against, "--class", "2", "--threshold", "0.5"]
    options += ["--rivals", "2"] if against == "rivals" else []
    options += ["--prior", "prior.txt"] if prior else []
    report = asked(capsys, *options)
    seen = look(model, prior)
    contrast = {"contrast": against, "rivals": 2}
    maps, offset = seen.maps(2, **contrast), seen.offset(2, **contrast)
    assert report["cells"] == [3, 3] == list(maps.shape[1:])
    # Two ways to normalise pixels, in float32, and sums of 9 cells and 64 channels.
    near = {"abs": 1e-4}
    assert report["inside"] + report["outside"] == pytest.approx(float(maps.sum()), **near)
    assert report["bias"] + report["prior"] == pytest.approx(float(offset[0]), **near)
    assert report["sum"] == pytest.approx(report["difference"], abs=1e-5)
    f = seen.logits[0].double()
    if prior:
        f = f - torch.tensor(prior).double().log()
    others = [k for k in range(CLASSES) if k != 2]
    ranked = sorted(others, key=lambda k: float(f[k]))
    compared = {"mean": others, "least": ranked[:1], "rivals": ranked[-2:], "none": []}[against]
    expected = float(f[2] - (f[compared].mean() if compared else 0))
    assert report["difference"] == pytest.approx(expected, **near)
    assert set(report["against_classes"]) == ({*compared} if against != "mean" else set())
    assert (report["prior"] != 0) == bool(prior)
    assert report["unit"] == ("logit" if against == "none" else "nats")
    assert [row["class"] for row in report["predicted"]] == seen.logits[0].argsort(
        descending=True
    ).tolist()
    log_q = seen.logits[0].double().log_softmax(0)
    for row in report["predicted"]:
        k = row["class"]
        assert row["logit"] == pytest.approx(float(seen.logits[0, k]), **near)
        assert row["probability"] == pytest.approx(float(log_q[k].exp()), **near)
        if prior:
            assert row["pmi_nats"] == pytest.approx(float(log_q[k]) - np.log(prior[k]), **near)
        else:
            assert "pmi_nats" not in row


@pytest.mark.usefixtures("here")
def test_box_and_its_nats_are_those_of_the_map_laid_over_the_image(capsys, model):
    report = asked(capsys, "--class", "1", "--threshold", "0.6")
    maps = look(model).maps(1, contrast="mean")
    wide = F.interpolate(maps[None].double(), size=(SIZE, SIZE), mode="bicubic")[0]
    assert wide.min() < 0 < wide.max()
    x0, y0, x1, y1 = boxes_from_score_maps(wide.clamp(min=0), 0.6)[0].tolist()
    box = [10 * x0, 5 * y0, 10 * x1, 5 * y1]
    assert report["box"] == box
    assert 0 < report["share_of_area"] < 1
    assert report["share_of_area"] == (box[2] - box[0]) * (box[3] - box[1]) / 7200
    # A cell is 40 x 20 pixels: every pixel has an 800th of it.
    spread = maps[0].double().repeat_interleave(20, 0).repeat_interleave(40, 1) / 800
    inside = float(spread[box[1] : box[3], box[0] : box[2]].sum())
    assert report["inside"] == pytest.approx(inside, abs=1e-4)


@pytest.mark.usefixtures("here")
def test_a_class_that_no_place_speaks_for_has_no_box(capsys, model):
    with torch.no_grad():
        quiet = copy.deepcopy(model)
        quiet.head.weight[0] = quiet.head.weight.min(0).values - 1  # features are not negative
    torch.save(quiet.state_dict(), "weights.pt")
    report = asked(capsys, "--class", "0")
    assert report["box"] == [0] * 4
    assert (report["share_of_area"], report["inside"]) == (0, 0)
    assert report["outside"] < 0
    assert main([*COMMAND, "--class", "0"]) == 0
    assert "no box, no place speaks for it more than others" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_class_is_compared_with_the_mean_of_all_others_unless_told_otherwise(capsys, model):
    report = asked(capsys)
    assert (report["against"], report["threshold"]) == ("mean", 0.2)
    assert report["class"] == int(look(model).logits.argmax())
    assert report["quantity"] == "difference of log probabilities"
    assert asked(capsys, "--against", "mean", "--threshold", "0.2") == report


@pytest.mark.usefixtures("here")
def test_text_shows_the_same_numbers(capsys):
    options = [
        "--names",
        "names.txt",
        "--class",
        "Bee",
        "--against",
        "rivals",
        "--threshold",
        "0.5",
    ]
    report = asked(capsys, *options, "--prior", "prior.txt")
    assert main([*COMMAND, *options, "--prior", "prior.txt"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    predicted, account, last = (block.splitlines() for block in out.rstrip().split("\n\n"))
    assert re.split(r"  +", predicted[0]) == ["predicted", "probability", "logit", "PMI, nats"]
    for line, row in zip(predicted[1:], report["predicted"], strict=True):
        assert re.split(r"  +", line) == [
            f"{row['class']} {row['name']}", f"{100 * row['probability']:.1f} %",
            f"{row['logit']:.3f}", f"{row['pmi_nats']:.3f}",
        ]  # fmt: skip
    rivals = ", ".join(WORDS[k] for k in report["against_classes"])
    assert account[0] == f"Bee against {rivals} (Finer-CAM)"
    rows = [re.split(r"  +", line) for line in account[1:]]
    place = f"in the box {' '.join(map(str, report['box']))}"
    place += f" ({100 * report['share_of_area']:.1f} % of the area)"
    assert rows[0] == ["difference of pointwise mutual informations", "nats"]
    names = [place, "outside of it", "from the biases", "from the log priors", "together"]
    keys = ["inside", "outside", "bias", "prior", "sum", "difference"]
    for (name, number), expected, key in zip(
        rows[1:], [*names, "the network's own"], keys, strict=True
    ):
        assert name == expected
        assert float(number) == pytest.approx(report[key], abs=5.1e-5)
    assert last == ["picture: photo-cam.png"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("rivals", "more"), [(3, ""), (4, " and 1 more")])
def test_of_many_rivals_the_likeliest_three_are_named_and_the_rest_counted(capsys, rivals, more):
    options = ["--class", "1", "--against", "rivals", "--rivals", str(rivals)]
    report = asked(capsys, *options)
    assert len(report["against_names"]) == rivals
    assert main([*COMMAND, *options]) == 0
    shown = ", ".join(report["against_names"][:3])
    assert f"\n{report['name']} against {shown}{more} (" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_plain_cam_is_said_to_have_no_unit(capsys):
    assert main([*COMMAND, "--against", "none", "--class", "0"]) == 0
    out = capsys.readouterr().out
    assert "class 0 against nothing (CAM)" in out
    assert "a logit alone has no unit" in out
    assert "nats" not in out.split("(CAM)")[1].split("a logit alone")[0]


@pytest.mark.parametrize(
    ("asked_for", "found"),
    [("ant", 0), ("bee", 1), ("Éland", 3), ("2", 2), ("4", 4)],
)
@pytest.mark.usefixtures("here")
def test_classes_by_name_and_by_index(capsys, asked_for, found):
    report = asked(capsys, "--names", "names.txt", "--class", asked_for)
    assert (report["class"], report["name"]) == (found, WORDS[found])


@pytest.mark.usefixtures("here")
def test_a_name_goes_before_an_index(capsys):
    Path("digits.txt").write_text("4\n3\n2\n1\n0\n")
    assert asked(capsys, "--names", "digits.txt", "--class", "4")["class"] == 0


@pytest.mark.usefixtures("here")
def test_size_mean_and_std_reach_the_network(capsys, model):
    before = asked(capsys)
    image = Image.fromarray(pixels()).resize((8, 8), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    with torch.no_grad():
        logits = model(x)[0][0]
    command = [*COMMAND[:-1], "8"]
    report = asked(capsys, "--mean", "0.1,0.2,0.3", "--std", "0.5,0.5,0.5", command=command)
    assert report["cells"] == [2, 2]
    found = {row["class"]: row["logit"] for row in report["predicted"]}
    torch.testing.assert_close(
        torch.tensor([found[k] for k in range(CLASSES)]), logits, rtol=0, atol=1e-4
    )
    assert before["predicted"] != report["predicted"]


# --- Weights and images -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"state": {}}, "random": torch.zeros(9)},
        lambda s: {"model_state_dict": {"module." + k: v for k, v in s.items()}},
        lambda s: {"module._orig_mod." + k: v for k, v in s.items()},
        lambda s: {"state_dict": {"model." + k: v for k, v in s.items()}},
        lambda s: {k: s[k] for k in sorted(s, reverse=True)},  # the head is not the last
        lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["state_dict", "model", "module.", "compiled", "lightning", "order", "float64", "old"],
)
@pytest.mark.usefixtures("here")
def test_weights_of_checkpoints_and_wrappers_are_the_same_weights(capsys, model, wrap):
    expected = asked(capsys)
    torch.save(wrap(model.state_dict()), "weights.pt")
    assert asked(capsys) == expected


@pytest.mark.usefixtures("here")
def test_class_maps_behind_a_convolutional_head(capsys):
    torch.manual_seed(0)
    squeezenet = models.squeezenet1_1(weights=None, num_classes=4)
    torch.save(squeezenet.state_dict(), "weights.pt")
    report = asked(capsys, "--model", "squeezenet1_1", "--size", "96")
    assert (report["n_classes"], report["cells"], report["bias"]) == (4, [5, 5], 0)
    assert report["sum"] == pytest.approx(report["difference"], abs=1e-5)


@pytest.mark.usefixtures("here")
def test_resnet18_is_the_default_network(capsys):
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None, num_classes=3).state_dict(), "weights.pt")
    report = asked(capsys, "--size", "64", command=COMMAND[:4])
    assert (report["model"], report["n_classes"]) == ("resnet18", 3)
    assert report["cells"] == [2, 2]


def turned(mode: str) -> tuple[bytes, np.ndarray]:
    """A file, and its pixels as RGB."""
    image, content = Image.fromarray(pixels()), io.BytesIO()
    if mode == "orientation":  # lies on its side; the camera noted which
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(content, "PNG", exif=exif)
        return content.getvalue(), pixels()
    image = image.convert(mode)
    image.save(content, "TIFF" if mode == "CMYK" else "PNG")
    return content.getvalue(), np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "orientation"])
@pytest.mark.usefixtures("here")
def test_images_of_any_mode_are_seen_as_rgb_and_upright(capsys, monkeypatch, mode):
    shown = []

    def kept(image, *arguments):
        shown.append(np.asarray(image))
        return cam_figure(image, *arguments)

    monkeypatch.setattr(_cam_figure, "cam_figure", kept)
    content, rgb = turned(mode)
    Image.fromarray(rgb).save("plain.png")
    Path("photo.png").write_bytes(content)
    report = asked(capsys)
    expected = asked(capsys, command=["cam", "plain.png", *COMMAND[2:]])
    assert report["image_size"] == [120, 60]
    for key in ("predicted", "box", "inside", "outside", "difference"):
        assert report[key] == expected[key]
    assert [np.array_equal(image, rgb) for image in shown] == [True, True]


# --- The picture ------------------------------------------------------------------------------


Corners = tuple[int, int, int, int]


def drawn(figure: Figure) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def frame(page: np.ndarray, left: int, right: int) -> Corners:
    """Ends of what has the colour of the box between two columns."""
    ys, xs = np.nonzero((page[:, left:right] == BOX).all(2))
    return xs.min() + left, ys.min(), xs.max() + left, ys.max()


def on_page(panel: Axes, x: float, y: float) -> np.ndarray:
    """Pixel of the page where a place of the image is, counted from its upper left corner."""
    across, up = panel.transData.transform((x - 0.5, y - 0.5))
    return np.array([across, panel.figure.bbox.height - up])


@pytest.mark.parametrize("size", [(240, 120), (90, 270), (1000, 1000)], ids=str)
def test_box_is_drawn_where_it_is_on_image_and_map(size):
    width, height = size
    image = Image.new("RGB", size, (250, 250, 250))
    box = [width // 4, height // 3, width // 2, 2 * height // 3]
    figure = cam_figure(image, torch.rand(7, 7), box, "title", [("+1.00", "nats")])
    page = drawn(figure)
    assert np.abs(page.shape[1] - figure.bbox.width) < 1
    for panel in figure.axes[:2]:
        left, top = on_page(panel, 0, 0)
        right, bottom = on_page(panel, width, height)
        x0, y0, x1, y1 = frame(page, int(left) - 3, int(right) + 3)
        corners = *on_page(panel, *box[:2]), *on_page(panel, *box[2:])
        # Three pixels wide, its middle on the edge.
        expected = np.add(corners, (-1.5, -1.5, 0.5, 0.5))
        np.testing.assert_allclose((x0, y0, x1, y1), expected, atol=1.1)
        assert (x0 - left) / (right - left) == pytest.approx(1 / 4, abs=0.02)
        assert (y1 - top) / (bottom - top) == pytest.approx(2 / 3, abs=0.02)
        middle = page[(y0 + y1) // 2]
        assert (middle[x0 : x0 + 3] == BOX).all()  # a line, not a filled square
        assert not (middle[x0 + 6 : x1 - 5] == BOX).all(1).any()


def test_colours_tell_for_from_against_and_leave_zero_as_it_is():
    nats = torch.zeros(9, 9)
    nats[1, 1], nats[7, 7] = 2.0, -2.0
    figure = cam_figure(Image.new("RGB", (90, 90), (90, 90, 90)), nats, [0] * 4, "t", [("1", "n")])
    page = drawn(figure).astype(int)
    places = {}
    for k in (1, 4, 7):
        x, y = on_page(figure.axes[1], 10 * (k + 0.5), 10 * (k + 0.5))
        places[k] = page[int(y), int(x)]
    under = 0.5 * 90 + 0.5 * 255
    np.testing.assert_allclose(places[4], under, atol=1)
    for k, colour in ((1, FOR), (7, AGAINST)):
        np.testing.assert_allclose(places[k], 0.15 * under + 0.85 * np.array(colour), atol=12)
    assert (page[0] == 255).all()
    assert not (page == BOX).all(2).any()  # an empty box is not drawn
    scale = figure.axes[2]
    assert scale.get_ylim() == (-2, 2)
    assert scale.get_ylabel() == "nats a cell"


def test_an_even_map_and_an_extreme_image_are_drawn():
    for size in ((1, 1), (2000, 1), (3, 900)):
        figure = cam_figure(Image.new("RGB", size), torch.zeros(2, 2), [0] * 4, "t", [("1", "n")])
        assert max(drawn(figure).shape) < 1400


def test_letters_that_the_font_lacks_and_formulas_are_drawn_as_they_are():
    image, title = Image.new("RGB", (9, 9)), "$\\frac Éland − 5 日本 \x1b $" + 300 * "x"
    figure = cam_figure(image, torch.ones(1, 1), [0] * 4, title, [("1", "$n_$")])
    assert drawn(figure).shape[1] < 1400
    assert figure.get_suptitle() == title


@pytest.mark.usefixtures("painted")
def test_picture_shows_the_box_of_the_numbers(capsys, monkeypatch):
    figures = []

    def kept(*arguments):
        figures.append(cam_figure(*arguments))
        return figures[0]

    monkeypatch.setattr(_cam_figure, "cam_figure", kept)
    monkeypatch.setattr(_cam_figure, "DPI", 100)
    report = asked(capsys, "--class", "1", "--threshold", "0.6", "--output", "out.png")
    page, (figure,) = np.array(Image.open("out.png").convert("RGB")), figures
    for panel in figure.axes[:2]:
        left, right = on_page(panel, 0, 0)[0], on_page(panel, 120, 60)[0]
        corners = *on_page(panel, *report["box"][:2]), *on_page(panel, *report["box"][2:])
        found = frame(page, int(left) - 3, int(right) + 3)
        np.testing.assert_allclose(found, np.add(corners, (-1.5, -1.5, 0.5, 0.5)), atol=1.1)
    account = figure.get_supxlabel()
    for key in ("inside", "outside", "bias", "sum"):
        assert f"{report[key]:+.2f}  nats " in account.replace("-0.00", "+0.00")


def test_without_matplotlib_the_command_says_what_to_install(capsys, here, monkeypatch):
    for name in [m for m in sys.modules if m.startswith(("softmi.cli._cam", "matplotlib."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    before = sorted(here.iterdir())
    assert main(COMMAND) == 1
    said = 'softmi: the picture needs matplotlib: pip install "softmi[figures]"\n'
    assert capsys.readouterr() == ("", said)
    assert sorted(here.iterdir()) == before


@pytest.mark.usefixtures("here")
def test_names_cannot_steer_the_terminal(capsys):
    names = ["\x1b[31mred\x1b[0m", "bell\a", "\u202eback", "Éland", "crane"]
    Path("names.txt").write_text("\n".join(names), encoding="utf-8")
    for k in range(3):
        report = asked(capsys, "--names", "names.txt", "--class", str(k))
        assert report["name"] == names[k]  # JSON has escapes of its own
        assert main([*COMMAND, "--names", "names.txt", "--class", str(k)]) == 0
        out = capsys.readouterr().out
        assert all(c.isprintable() or c == "\n" for c in out)
        assert {0: r"\x1b[31mred\x1b[0m", 1: r"bell\x07", 2: r"\u202eback"}[k] in out
        assert "Éland" in out
    assert main([*COMMAND, "--names", "names.txt", "--class", "\x1b[31mrad\x1b[0m"]) == 1
    err = capsys.readouterr().err
    assert r"near it: \x1b[31mred\x1b[0m" in err
    assert err.rstrip("\n").isprintable()


def test_an_interrupted_command_says_so_and_leaves_no_picture(capsys, here, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    before = sorted(here.iterdir())
    monkeypatch.setattr(torch, "load", interrupted)
    assert main(COMMAND) == 130
    assert capsys.readouterr() == ("", "softmi: interrupted\n")
    assert sorted(here.iterdir()) == before


@pytest.mark.usefixtures("painted")
def test_nothing_but_the_picture_is_written(capsys, here):
    before = {p.name: p.read_bytes() for p in here.iterdir()}
    report = asked(capsys)
    after = {p.name: p.read_bytes() for p in here.iterdir()}
    assert Image.open(io.BytesIO(after.pop(report["picture"]))).format == "PNG"
    assert report["picture"] == "photo-cam.png"
    assert after == before


def test_a_picture_of_last_time_stays_whole_until_it_is_replaced(capsys, here, monkeypatch):
    (here / "photo-cam.png").write_bytes(b"last time")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert main(COMMAND) == 1
    assert capsys.readouterr().err == "softmi: [Errno 28] No space left on device\n"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        assert main(COMMAND) == 1
    assert (here / "photo-cam.png").read_bytes() == b"last time"
    assert not list(here.glob("*.partial")) + list(here.glob(".*.partial"))
    assert main(COMMAND) == 0
    assert (here / "photo-cam.png").read_bytes().startswith(b"\x89PNG")


# --- Bad data and wrong options ---------------------------------------------------------------


def write_bomb(here: Path) -> None:
    """A valid head that promises 400 million pixels, in a file of a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (here / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def spoil_image(here: Path) -> None:
    whole = (here / "photo.png").read_bytes()
    (here / "photo.png").write_bytes(whole[: len(whole) // 2])


def change(**tensors):
    def write(here: Path) -> None:
        state = torch.load(here / "weights.pt", weights_only=True)
        for key, value in tensors.items():
            name = key.replace("__", ".")
            if value is None:
                del state[name]
            else:
                state[name] = value
        torch.save(state, here / "weights.pt")

    return write


def weights(value) -> "callable":
    return lambda here: torch.save(value, here / "weights.pt")


def itself() -> dict:
    state: dict[str, object] = {}
    state["model"] = state
    return state


def other(name: str) -> "callable":
    def write(here: Path) -> None:
        made = models.get_model(name, weights=None, num_classes=3)
        torch.save(made.state_dict(), here / "weights.pt")

    return write


def say(name: str, text: str | bytes) -> "callable":
    content = text if isinstance(text, bytes) else text.encode()
    return lambda here: (here / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda here: (here / "photo.png").unlink(), "", "photo.png: there is no such file"),
        (say("photo.png", "no image"), "", "photo.png is not an image that can be read"),
        (say("photo.png", ""), "", "photo.png is not an image that can be read"),
        (spoil_image, "", "photo.png is a damaged image"),
        (write_bomb, "", "photo.png is too large an image"),
        (lambda here: (here / "weights.pt").unlink(), "", "weights.pt: there is no such file"),
        (say("weights.pt", "no weights"), "", "weights.pt cannot be read as weights"),
        (say("weights.pt", ""), "", "weights.pt cannot be read as weights"),
        (say("weights.pt", pickle.dumps(os.getcwd)), "", "weights.pt cannot be read as weights"),
        (weights(nn.Linear(2, 2)), "", "holds more than tensors; write torch.save"),
        (weights(torch.zeros(3)), "", "holds no state dictionary but Tensor"),
        (weights({}), "", "holds no state dictionary but dict"),
        (weights(itself()), "", "holds no state dictionary: model is no tensor"),
        (change(head__bias=torch.zeros(5).to_sparse()), "", "weights.pt does not fit gapnet: "),
        (weights({"epoch": 3}), "", "holds no state dictionary: epoch is no tensor"),
        (weights({1: torch.zeros(3, 3)}), "", "holds no state dictionary: 1 are no names"),
        (weights({"bias": torch.zeros(3)}), "", "has no matrix of weights"),
        (change(features__0__weight=None), "", "missing: features.0.weight$"),
        (change(more=torch.zeros(2)), "", "unexpected: more$"),
        (change(head__bias=torch.zeros(2)), "", r"other shapes: head.bias \(2,\) for \(5,\)$"),
        (change(head__bias=torch.zeros(5, dtype=torch.cfloat)), "", "complex: head.bias$"),
        (change(head__weight=torch.zeros(1, 1).expand(10**13, 64)), "", "cannot be built: "),
        (change(head__weight=torch.full((5, 64), np.nan)), "", "logits .*finite"),
        (other("squeezenet1_0"), "", r"--model names the network.*missing.*and \d+ more; unexp"),
        (
            other("mobilenet_v3_small"),
            "--model mobilenet_v3_small --size 64",
            "not a linear function of",
        ),
        (None, "--model shuffelnet_v2_x0_5", "is not in torchvision.models; near it: shufflenet"),
        (None, "--model fasterrcnn_resnet50_fpn", "is not in torchvision.models"),
        (None, "--model googlenet", "changes its input, or does not"),
        (None, "--size 1", "gapnet does not take images of 1 pixels .--size.: "),
        (None, "--class 5", "--class 5 is out of range: there are 5 classes, from 0"),
        (None, "--class=-1", "--class -1 is out of range"),
        (None, "--class crain --names names.txt", "neither an index nor a name.*near it: crane"),
        (None, "--class crane --names names.txt", r"names several classes, \[2, 4\]"),
        (None, "--class ant", "--class ant is neither an index nor a name in --names"),
        (say("names.txt", "ant\nbee\n"), "--names names.txt", "has 2 lines for 5 classes"),
        (say("names.txt", b"\xff\xfe\xff"), "--names names.txt", "is not UTF-8 text"),
        (None, "--names nowhere.txt", "--names nowhere.txt: there is no such file"),
        (None, "--prior 0.5,0.5", "prior has 2 entries, but there are 5 classes"),
        (None, "--prior 0.5,0.5,0,0,0", "prior must be positive"),
        (None, "--prior nowhere", "neither a list of numbers nor a file"),
        (None, "--against rivals --rivals 5", "rivals must be between 1 and 4, got 5"),
        (None, "--against rivals --rivals 0", "rivals must be between 1 and 4, got 0"),
        (None, "--output nowhere/out.png", "--output nowhere/out.png: it is a folder, or its"),
        (None, "--output photo.png", "--output photo.png would overwrite what is read"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_bad_data_exits_with_1_one_line_and_no_picture(capsys, here, spoil, arguments, message):
    if spoil is not None:
        spoil(here)
    before = {p.name: p.read_bytes() for p in here.iterdir()}
    assert main([*COMMAND, *arguments.split()]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"softmi: .*{message.removesuffix('$')}.*\n", err), err
    assert re.search(message, err)
    assert {p.name: p.read_bytes() for p in here.iterdir()} == before


def test_an_image_file_beyond_all_measure_is_refused_before_it_is_read(capsys, here, monkeypatch):
    size = (here / "photo.png").stat().st_size
    monkeypatch.setattr(cam, "LARGEST_FILE", size)
    asked(capsys)
    monkeypatch.setattr(cam, "LARGEST_FILE", size - 1)
    monkeypatch.setattr(cam, "decode_image", lambda *_: pytest.fail("the file was read"))
    assert main(COMMAND) == 1
    assert capsys.readouterr().err == f"softmi: photo.png has {size} bytes, more than {size - 1}\n"


def test_a_damaged_note_of_the_camera_is_passed_over(capsys, here):
    content = io.BytesIO()
    Image.fromarray(pixels()).save(content, "PNG", exif=b"Exif\0\0no such thing")
    expected = asked(capsys)
    (here / "photo.png").write_bytes(content.getvalue())
    assert asked(capsys) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cam"], "required: IMAGE, --weights"),
        ([*COMMAND, "--against", "all"], "invalid choice: 'all'"),
        ([*COMMAND, "--threshold", "1"], r"must be in \[0, 1\), got 1"),
        ([*COMMAND, "--threshold", "nan"], r"must be in \[0, 1\), got nan"),
        ([*COMMAND, "--size", "0"], "must be between 1 and 4096, got 0"),
        ([*COMMAND, "--mean", "0,1"], "must be three numbers, got 0,1"),
        ([*COMMAND, "--mean", "0,1,nan"], "must be three numbers, got 0,1,nan"),
        ([*COMMAND, "--std", "1,0,1"], "must be three positive numbers, got 1,0,1"),
        ([*COMMAND, "--output", "out.jpg"], "must end in .png, got out.jpg"),
        ([*COMMAND, "--rivals", "2"], "--rivals does not apply to --against mean"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_options_exit_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("photo-cam.png").exists()


def test_help_says_what_the_numbers_mean(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["cam", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for phrase in (
        "nothing is downloaded", 'torch.save(model.state_dict(), "weights.pt")', "infoCAM+",
        "0.2 is a convention", "pointwise mutual information", "exit status",
    ):  # fmt: skip
        assert phrase in text


# --- The page ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("painted")
def test_every_recipe_of_the_page_runs_as_printed(here, capsys):
    """In order, with the names that the text takes for granted."""
    torch.manual_seed(0)
    resnet = models.resnet18(weights=None, num_classes=CLASSES)
    torch.save(resnet.state_dict(), "weights.pt")
    images = torch.rand(4, 3, 64, 96)
    corners = torch.tensor([[8.0, 8.0, 40.0, 40.0]]).expand(4, 4)
    batches = [(images, torch.tensor([0, 1, 2, 3]), corners)]
    names = {
        "model": resnet, "images": images, "counts": torch.tensor([40, 10, 20, 10, 20]),
        "held_loader": batches, "test_loader": batches, "held_boxes": corners,
        "test_boxes": corners, "image_size": (64, 96),
    }  # fmt: skip
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)
    assert [language for language, _ in blocks] == ["sh"] * 2 + ["python"] * 5
    totals = []
    for language, block in blocks:
        assert len(block.splitlines()) <= 10
        if language == "sh":
            assert main(shlex.split(block)[1:]) == 0
            assert "photo-cam.png" in capsys.readouterr().out
            continue
        exec(compile(block, "book/localise.md", "exec"), names)
        if "total" in block:
            totals.append((names["total"], names["seen"]))
    logits = totals[0][1].logits
    for (total, _), prior in zip(totals, (torch.ones(5), names["counts"] / 100), strict=True):
        f = logits - prior.log()
        y = F.one_hot(logits.argmax(1), CLASSES).bool()
        difference = f[y] - f[~y].view(4, -1).mean(1)
        torch.testing.assert_close(total, difference, rtol=0, atol=1e-4)
    # The same images have chosen the threshold.
    assert names["test"].compute() == names["test"].maximum_chosen_on_these_images()
    assert "| *box: centred, best side* |" in capsys.readouterr().out


def test_picture_of_the_page_is_one_of_the_command_and_small():
    path = ROOT / "book" / "_static" / "localise.png"
    page = np.array(Image.open(path).convert("RGB"))
    assert path.stat().st_size < 200_000
    assert page.shape[1] == 1100
    frames = [frame(page, left, left + 480) for left in (0, 485)]
    for x0, y0, x1, y1 in frames:
        assert x0 < x1
        assert y0 < y1
    left, right = frames  # the same box, once on the image and once on the map
    assert (left[1], left[3], left[2] - left[0]) == (right[1], right[3], right[2] - right[0])
