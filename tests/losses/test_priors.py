"""Priors moved in the logits after training, and folded into the bias of the head."""

import copy

import pytest
import torch
import torch.nn.functional as F
from loss_cases import COUNTS, Net, case, trained
from slow_reference import EPS
from torch import nn

from softmi import (
    DiscreteJoint,
    NormalisedLinear,
    PCSoftmaxLoss,
    adjust_logits,
    fold_prior,
    unfold_prior,
)

# --- adjust_logits ----------------------------------------------------------------------------


@pytest.mark.paper("saerens2002", "prior adjustment")
@pytest.mark.paper("menon2021", "post-hoc logit adjustment")
@pytest.mark.paper("hong2021", "post-compensated softmax")
def test_adjusting_recovers_the_bayes_posterior_under_another_prior():
    joint = DiscreteJoint([[0.30, 0.05, 0.02], [0.08, 0.20, 0.05], [0.10, 0.02, 0.18]])
    other = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    likelihood = joint.table / joint.prior  # p(x|y)
    posterior = likelihood * other / (likelihood * other).sum(1, keepdim=True)
    plain, corrected = joint.posterior().log() + 3, likelihood.log() - 2

    from_plain = adjust_logits(plain, train_prior=joint.prior, test_prior=other)
    from_corrected = adjust_logits(corrected, test_prior=other)
    torch.testing.assert_close(from_plain.softmax(1), posterior, rtol=1e-13, atol=0)
    torch.testing.assert_close(from_corrected.softmax(1), posterior, rtol=1e-13, atol=0)

    balanced = likelihood / likelihood.sum(1, keepdim=True)
    torch.testing.assert_close(
        adjust_logits(plain, train_prior=joint.prior).softmax(1), balanced, rtol=1e-13, atol=0
    )


def test_adjusting_to_the_prior_in_place_changes_nothing():
    logits, _, counts = case(30)
    prior = counts / counts.sum()
    same = adjust_logits(logits, train_prior=prior, test_prior=prior)
    torch.testing.assert_close(same, logits, rtol=0, atol=64 * EPS)
    assert torch.equal(adjust_logits(logits), logits)
    assert torch.equal(adjust_logits(logits, train_prior=prior, tau=0.0), logits)


def test_adjusting_scales_the_correction_with_tau():
    logits, _, counts = case(31)
    prior = counts / counts.sum()
    half = adjust_logits(logits, train_prior=prior, tau=0.5)
    twice = adjust_logits(half, train_prior=prior, tau=0.5)
    torch.testing.assert_close(twice, adjust_logits(logits, train_prior=prior), rtol=1e-13, atol=0)


def test_adjusting_rules_out_a_class_that_does_not_occur_in_the_test():
    adjusted = adjust_logits(torch.zeros(1, 3), test_prior=[0.5, 0.5, 0.0])
    assert adjusted.softmax(1).tolist() == [[0.5, 0.5, 0.0]]
    neutral = adjust_logits(torch.zeros(1, 3), test_prior=[0.5, 0.5, 0.0], tau=0.0)
    assert neutral.tolist() == [[0, 0, 0]]


@pytest.mark.usefixtures("no_shape_checks")
def test_adjusting_refuses_what_it_cannot_correct():
    with pytest.raises(ValueError, match=r"zero for classes \[1\]: nothing to correct from"):
        adjust_logits(torch.zeros(1, 2), train_prior=[1.0, 0.0])
    with pytest.raises(ValueError, match="3 entries, but there are 2 classes"):
        adjust_logits(torch.zeros(1, 2), test_prior=[0.2, 0.3, 0.5])
    with pytest.raises(TypeError, match=r"floating point, got .*int64"):
        adjust_logits(torch.zeros(1, 2).long())


# --- The folded head --------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ],
    ids=["momentum", "nesterov"],
)
def test_a_folded_head_under_cross_entropy_trains_the_weights_of_pc_softmax(tau, optimizer):
    prior = COUNTS / COUNTS.sum()
    torch.manual_seed(1)
    start = Net().double()
    pc = trained(PCSoftmaxLoss(prior, tau=tau), model=copy.deepcopy(start), optimizer=optimizer)
    folded = copy.deepcopy(start)
    folded.head = fold_prior(folded.head, prior, tau=tau)
    folded = trained(F.cross_entropy, model=folded, optimizer=optimizer)
    folded.head = unfold_prior(folded.head, prior, tau=tau)
    for found, expected in zip(folded.parameters(), pc.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(pc.head.weight, start.head.weight)


def test_weight_decay_on_the_bias_is_not_the_same_and_is_the_same_when_left_out():
    prior = COUNTS / COUNTS.sum()
    torch.manual_seed(1)
    start = Net().double()

    def distance(decay_bias: bool) -> float:
        biases = []
        for fold in (False, True):
            net = copy.deepcopy(start)
            if fold:
                net.head = fold_prior(net.head, prior)
            others = [p for p in net.parameters() if p is not net.head.bias]
            groups = [
                {"params": others, "weight_decay": 0.01},
                {"params": [net.head.bias], "weight_decay": 0.01 * decay_bias},
            ]
            loss = F.cross_entropy if fold else PCSoftmaxLoss(prior)
            trained(loss, model=net, optimizer=lambda _, g=groups: torch.optim.SGD(g, lr=0.1))
            biases.append(unfold_prior(net.head, prior).bias if fold else net.head.bias)
        return float((biases[0] - biases[1]).detach().abs().max())

    assert distance(decay_bias=False) < 1e-12
    # Eighteen steps of 0.1 with decay 0.01 take some 2 % of log pi, which is 0.4 to 2.3.
    assert distance(decay_bias=True) > 1e-3


def test_unfolding_takes_out_what_folding_put_in_and_leaves_the_given_head():
    head = nn.Linear(4, 3)
    before = head.bias.detach().clone()
    folded = fold_prior(head, [0.2, 0.3, 0.5])
    assert torch.equal(head.bias, before)
    assert folded.bias.requires_grad
    assert torch.equal(folded.weight, head.weight)
    assert folded.weight is not head.weight
    back = unfold_prior(folded, [0.2, 0.3, 0.5])
    # Two roundings of numbers below 4.
    torch.testing.assert_close(back.bias, before, rtol=0, atol=4 * 2.0**-23)


def test_a_head_without_bias_gets_one_that_is_not_trained():
    folded = fold_prior(nn.Linear(4, 3, bias=False), [0.2, 0.3, 0.5])
    torch.testing.assert_close(folded.bias, torch.tensor([0.2, 0.3, 0.5]).log())
    assert not folded.bias.requires_grad
    back = unfold_prior(folded, [0.2, 0.3, 0.5]).bias
    torch.testing.assert_close(back, torch.zeros(3), rtol=0, atol=2 * 2.0**-23)  # log pi above -2


@pytest.mark.usefixtures("no_shape_checks")
def test_folding_refuses_what_it_cannot_fold():
    with pytest.raises(ValueError, match=r"zero for classes \[1\]: the bias would be infinite"):
        fold_prior(nn.Linear(4, 2), [1.0, 0.0])
    with pytest.raises(ValueError, match="3 entries, but there are 2 classes"):
        fold_prior(nn.Linear(4, 2), [0.2, 0.3, 0.5])
    with pytest.raises(TypeError, match=r"must be an nn\.Linear, got NormalisedLinear"):
        unfold_prior(NormalisedLinear(4, 2), [0.5, 0.5])
