"""LDAM, deferred re-weighting and the normalised head."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import COUNTS, WEIGHTS, case, same_weights, trained
from slow_reference import EPS
from torch import nn

from softmi import LDAMLoss, NormalisedLinear, balanced_class_weights, ldam_loss

# --- LDAM -------------------------------------------------------------------------------------


@pytest.mark.paper("cao2019", "LDAM loss")
def test_ldam_by_hand():
    """Counts 16 and 1: margins 0.5 / 16^(1/4) = 0.25 and 0.5. With scale 2 and f = (0.5, 0)
    label 0 has scores (0.5, 0), label 1 (1, -1).
    """
    logits = torch.tensor([[0.5, 0.0], [0.5, 0.0]], dtype=torch.float64)
    losses = ldam_loss(logits, torch.tensor([0, 1]), [16, 1], scale=2.0, reduction="none")
    expected = [math.log1p(math.exp(-0.5)), math.log1p(math.exp(2))]
    assert losses.tolist() == pytest.approx(expected, rel=1e-15)
    weighted = ldam_loss(
        logits, torch.tensor([0, 1]), [16, 1], scale=2.0, class_weights=[1.0, 3.0]
    )
    assert weighted.item() == pytest.approx((expected[0] + 3 * expected[1]) / 4, rel=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ldam_without_margins_is_pytorchs_weighted_cross_entropy_of_scaled_logits(reduction):
    logits, targets, counts = case(24)
    options = {"class_weights": WEIGHTS, "reduction": reduction, "scale": 3.0}
    found = ldam_loss(logits, targets, counts, max_margin=0.0, **options)
    expected = F.cross_entropy(3 * logits, targets, weight=WEIGHTS, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.paper("cao2019", "LDAM loss")
def test_ldam_is_the_authors_recipe():
    """Their code: margins n^(-1/4) scaled to a maximum, taken off where a one-hot mask says."""
    logits, targets, counts = case(25)
    margins = 1 / counts.sqrt().sqrt()
    margins = margins * (0.5 / margins.max())
    index = F.one_hot(targets, 5).bool()
    moved = torch.where(index, logits - margins[targets][:, None], logits)
    expected = F.cross_entropy(30 * moved, targets)
    torch.testing.assert_close(ldam_loss(logits, targets, counts), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(LDAMLoss(counts)(logits, targets), expected, rtol=1e-13, atol=0)


def test_gradients_of_ldam_are_the_derivative():
    logits, targets, counts = case(26, n=4, scale=0.3)
    logits.requires_grad_(True)

    def loss(f):
        return ldam_loss(f, targets, counts, scale=5.0, class_weights=WEIGHTS)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.usefixtures("no_shape_checks")
def test_a_class_without_samples_stays_among_the_rivals_but_is_no_target():
    logits, counts = torch.zeros(1, 3), [4, 1, 0]
    loss = LDAMLoss(counts, reweight_from=0)
    assert torch.isfinite(loss(logits, torch.tensor([1])))
    assert loss(logits, torch.tensor([1])).item() == pytest.approx(
        math.log1p(2 * math.exp(15)), rel=1e-6
    )
    for refuse in (loss, functools.partial(ldam_loss, class_counts=counts)):
        with pytest.raises(ValueError, match=r"classes without samples: \[2\]"):
            refuse(logits, torch.tensor([2]))


# --- Deferred re-weighting --------------------------------------------------------------------


@pytest.mark.paper("cao2019", "deferred re-weighting")
def test_class_weights_stay_out_until_their_epoch():
    logits, targets, counts = case(27)
    weights = balanced_class_weights(counts, beta=0.9999)
    loss = LDAMLoss(counts, reweight_from=2)
    plain, weighted = (
        ldam_loss(logits, targets, counts, class_weights=w) for w in (None, weights)
    )
    for epoch, expected in enumerate([plain, plain, weighted, weighted]):
        loss.set_epoch(epoch)
        assert loss(logits, targets).item() == expected.item()
    loss.set_epoch(0)
    assert loss(logits, targets).item() == plain.item()
    always = LDAMLoss(counts, class_weights=weights)
    assert always(logits, targets).item() == weighted.item()


def test_fit_tells_the_loss_its_epoch_before_the_first_batch():
    told = []

    class Loss(nn.Module):
        def set_epoch(self, epoch):
            told.append(epoch)

        def forward(self, logits, targets):
            told.append("batch")
            return F.cross_entropy(logits, targets)

    trained(Loss(), epochs=2)
    assert told == [0, *["batch"] * 6, 1, *["batch"] * 6]


def test_a_resumed_run_re_weights_as_one_that_was_not_interrupted(tmp_path):
    def run(epochs, **options):
        return trained(LDAMLoss(COUNTS, scale=5.0, reweight_from=1), epochs=epochs, **options)

    whole = run(4)
    run(2, checkpoint=tmp_path / "run.ckpt")
    assert same_weights(run(4, checkpoint=tmp_path / "run.ckpt"), whole)
    never = trained(LDAMLoss(COUNTS, scale=5.0), epochs=4)
    assert not same_weights(never, whole)


# --- The normalised head ----------------------------------------------------------------------


@pytest.mark.paper("cao2019", "normalised last layer")
def test_normalised_head_gives_cosines_whatever_the_lengths():
    head = NormalisedLinear(6, 4).double()
    z = torch.randn(3, 6, dtype=torch.float64)
    expected = torch.stack([F.cosine_similarity(z, w[None]) for w in head.weight], dim=1)
    torch.testing.assert_close(head(z), expected, rtol=0, atol=8 * EPS)
    with torch.no_grad():
        head.weight *= 7
    torch.testing.assert_close(head(100 * z), expected, rtol=0, atol=8 * EPS)
    assert head(torch.zeros(2, 6).double()).tolist() == [[0] * 4] * 2
    norms = NormalisedLinear(6, 4).weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4))


def test_normalised_head_survives_half_precision():
    head = NormalisedLinear(6, 4).half()
    assert torch.isfinite(head(torch.full((2, 6), 3e4, dtype=torch.float16))).all()
    assert head(torch.zeros(2, 6, dtype=torch.float16)).tolist() == [[0] * 4] * 2
