"""One table of losses: each row is what its name says, and nothing of it is typed elsewhere."""

import inspect
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from long_tail import COUNTS, data, tiny
from torch import nn

import softmi.losses
from softmi import LDAMLoss, PCSoftmaxLoss
from softmi.evidence.figures import HUES, METHOD_COLOURS
from softmi.evidence.units import code_digest
from softmi.experiments import long_tailed_losses_figures as show
from softmi.experiments import loss_table
from softmi.experiments.long_tailed_summaries import POSTHOC
from softmi.experiments.loss_table import LOSSES, carried_prior, loss_of, loss_row
from softmi.losses._base import _Loss

FOLDER = Path(loss_table.__file__).parent


def test_losses_are_what_their_names_say():
    logits, y = torch.randn(75, 3), data()[1]
    plain = nn.functional.cross_entropy(logits, y)
    assert torch.equal(loss_of("softmax", COUNTS, tiny())(logits, y), plain)
    balanced = nn.functional.cross_entropy(logits + COUNTS.log(), y)
    own = nn.functional.cross_entropy(COUNTS.log().expand(75, 3), y)  # no network in it
    pc = loss_of("PC-softmax", COUNTS, tiny())
    assert isinstance(pc, PCSoftmaxLoss)
    assert pc(logits, y).item() == pytest.approx((balanced - own).item(), abs=1e-5)
    assert loss_of("tau=0", COUNTS, tiny())(logits, y).item() == pytest.approx(plain.item())
    assert loss_of("tau=1", COUNTS, tiny())(logits, y).item() == pytest.approx(
        pc(logits, y).item()
    )
    ldam = loss_of("LDAM-DRW", COUNTS, tiny(epochs=10))
    assert isinstance(ldam, LDAMLoss)
    assert (ldam.reweight_from, ldam.scale) == (8, 30.0)
    assert LOSSES["LDAM-DRW"].scale == ldam.scale  # cosines come out as the logits that it took
    with pytest.raises(ValueError, match="no loss 'hinge'; there are softmax"):
        loss_of("hinge", COUNTS, tiny())


EXACT = [name for name, row in LOSSES.items() if row.exact]


@pytest.mark.parametrize("loss", [*EXACT, "tau=0.5", "tau=2"])
def test_logits_carry_the_prior_that_theory_says(loss):
    """Inputs that say nothing leave in the logits what they carry, and that alone."""
    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")
    function, y = loss_of(loss, COUNTS, tiny()), data()[1]

    def closure():
        optimiser.zero_grad()
        value = function(logits.expand(75, 3), y)
        value.backward()
        return value

    for _ in range(3):
        optimiser.step(closure)
    carried = carried_prior(loss, COUNTS)
    expected = torch.full((3,), 1 / 3) if carried is None else carried.float()
    torch.testing.assert_close(
        logits.detach().softmax(0), expected, rtol=0, atol=2e-3,
        msg=f"logits trained with {loss} do not carry what `carried` of its row says: mend it, or "
            "say `exact=False` if they carry no prior",
    )  # fmt: skip


def test_carried_priors_are_distributions():
    for loss in (*LOSSES, "tau=0.5", "tau=2"):
        carried = carried_prior(loss, COUNTS)
        assert carried is None or float(carried.sum()) == pytest.approx(1)
    torch.testing.assert_close(carried_prior("focal", COUNTS), carried_prior("softmax", COUNTS))


@pytest.mark.parametrize("name", LOSSES)
def test_each_row_says_in_symbols_what_it_does(name):
    """So that it is in the table of formulas of the chapter."""
    row = LOSSES[name]
    told = f'give the row of {name} in softmi/experiments/loss_table.py `formula=r"..."`, in TeX'
    assert row.formula, told
    carried = carried_prior(name, COUNTS)
    told = f"`carries` of {name}: the logarithm of what its `carried` gives, in TeX"
    assert bool(row.carries) == (carried is not None), told
    assert "|" not in row.formula, f"{name}: a bar parts the columns of the table: write \\mid"


# Public losses that are trained under another name, each with the reason.
NO_ROW = {
    "balanced_softmax_cross_entropy": "PC-softmax, but for a term that no network is in",
    "logit_adjusted_cross_entropy": "trained as tau=<number>",
}


def in_a_row(loss: str) -> bool:
    """Whether the maker of a row names a public loss, or a module that is built on it."""
    for row in LOSSES.values():
        for name, thing in inspect.getclosurevars(inspect.unwrap(row.make)).globals.items():
            built_on = inspect.getsource(thing) if inspect.isclass(thing) else ""
            if name == loss or re.search(rf"\b{loss}\b", built_on):
                return True
    return False


def public_losses() -> list[str]:
    named = re.compile(r"\w+(_loss|_cross_entropy|Loss)")
    return [
        name
        for name in softmi.losses.__all__
        if named.fullmatch(name) or _Loss in getattr(getattr(softmi.losses, name), "__mro__", ())
    ]


@pytest.mark.parametrize("name", public_losses())
def test_a_public_loss_is_trained_on_the_long_tail(name):
    if not in_a_row(name) and name not in NO_ROW:
        told = (f"{name} has no row in softmi/experiments/loss_table.py: add one, with its maker, "
                "or list it in NO_ROW of this test with the reason")  # fmt: skip
        pytest.fail(told, pytrace=False)


def test_losses_without_a_row_are_public_and_have_none():
    assert set(NO_ROW) <= set(public_losses())
    assert not [name for name in NO_ROW if in_a_row(name)]


def test_numbers_of_the_losses_are_those_of_their_papers():
    found = (loss_table.GAMMA, loss_table.BETA, loss_table.MARGIN, loss_table.SCALE)
    assert found == (2, 0.9999, 0.5, 30)


@pytest.mark.parametrize("field", ["name", "short", "marker"])
def test_rows_can_be_told_apart(field):
    values = [getattr(row, field) for row in LOSSES.values()]
    assert len(set(values)) == len(values), f"two losses have one {field}: {values}"
    assert all(name == row.name for name, row in LOSSES.items())


def test_no_row_takes_the_marker_of_post_hoc():
    taken = [name for name, row in LOSSES.items() if row.marker == show.marker(POSTHOC)]
    assert not taken, (
        f'the marker "{show.marker(POSTHOC)}" of {taken} is that of post-hoc correction, which is '
        "drawn beside the rows: give another"
    )


def test_each_loss_has_a_colour_that_nothing_beside_it_has():
    fixed = {name: METHOD_COLOURS[name] for name in (*LOSSES, POSTHOC) if name in METHOD_COLOURS}
    for name, row in LOSSES.items():
        others = [HUES.get(r.hue) for r in LOSSES.values() if r.hue and r is not row]
        free = [hue for hue, ink in HUES.items() if ink not in (*others, *fixed.values())]
        assert row.hue in free or (not row.hue and name in fixed), (
            f"{name} has the hue {row.hue!r}; free are {', '.join(free)}"
        )
        assert not row.hue or name not in METHOD_COLOURS, f"{name} has two colours"


def test_the_name_of_a_loss_decides_nothing_in_code():
    """What a loss needs is in its row: nobody asks for it by name."""
    names = {name for name, row in LOSSES.items() if row.hue}  # those of this chapter alone
    for module in FOLDER.glob("long_tailed_*.py"):
        text = module.read_text(encoding="utf-8")
        typed = [name for name in names if f'"{name}"' in text]
        assert not typed, f"{module.name} names {typed}: put what it needs into the loss's row"


@pytest.mark.parametrize("name", [*LOSSES, "tau=2"])
def test_a_digest_can_be_taken_of_each_maker(name):
    """So that kept networks are trained again when their loss changes."""
    assert inspect.isfunction(loss_row(name).make), "give the maker a name: def, not a call"
    code_digest(loss_row(name).make)


def test_makers_have_digests_of_their_own():
    makers = [loss_row(name).make for name in (*LOSSES, "tau=0.5", "tau=2")]
    digests = [code_digest(make) for make in makers]
    assert all(a != b for a, b in itertools.combinations(digests, 2))


def test_a_weight_acts_like_frequency():
    """Inverse frequencies would leave nothing in the logits; beta = 0.9999 leaves little."""
    odds = carried_prior("class-weighted", torch.tensor([5000, 50]))
    assert 1 < float(odds[0] / odds[1]) < 1.3
    assert np.isclose(float(odds[0] / odds[1]), 100 / 79, rtol=0.01)
