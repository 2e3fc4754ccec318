"""Class priors in the logits or in the bias of the head, without another loss."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmi._checks import (
    PriorLike,
    as_prior,
    at_least_float32,
    check_logits,
    values_can_be_checked,
)
from softmi.losses._kernel import _tempered


def adjust_logits(
    logits: Float[Tensor, "batch classes"],
    *,
    train_prior: PriorLike | None = None,
    test_prior: PriorLike | None = None,
    tau: float = 1.0,
) -> Float[Tensor, "batch classes"]:
    r"""Move logits from one class prior to another after training (post-hoc correction).

    .. math:: g_k(x) = f_k(x) - \tau \log \pi^{\text{train}}_k + \tau \log \pi^{\text{test}}_k

    For a network trained with plain cross-entropy give `train_prior` (Saerens et al. 2002; Menon
    et al. 2021; the post-compensated softmax of Hong et al. 2021). For one trained with
    :func:`pc_cross_entropy` leave it out: its logits carry no prior.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes).
        train_prior: Prior to take out; None takes out nothing.
        test_prior: Prior to put in; None means equally likely classes.
        tau: Strength of the correction.

    Raises:
        TypeError: Logits that are not floating point.
        ValueError: Wrong shapes, priors that are no distributions, or a class of zero
            `train_prior`, for which the network says nothing.

    Example:
        >>> logits = torch.log(torch.tensor([[0.6, 0.4]]))  # the first was seen nine times
        >>> corrected = adjust_logits(logits, train_prior=[0.9, 0.1])
        >>> corrected.argmax(1).item()  # were both as likely, it would be the second
        1

    Source: saerens2002, prior adjustment; menon2021, post-hoc logit adjustment;
    hong2021, post-compensated softmax.
    """
    check_logits(logits, allow_empty=True)
    logits = at_least_float32(logits)
    values = values_can_be_checked(logits)
    if train_prior is not None:
        pi = as_prior(train_prior, classes=logits.shape[1], like=logits, values=values)
        if values and (pi == 0).any():
            absent = (pi == 0).nonzero().flatten().tolist()
            raise ValueError(f"train_prior is zero for classes {absent}: nothing to correct from")
        logits = logits - _tempered(pi.log(), tau)
    if test_prior is not None:
        pi = as_prior(test_prior, classes=logits.shape[1], like=logits, values=values)
        logits = logits + _tempered(pi.log(), tau)
    return logits


def fold_prior(head: nn.Linear, prior: PriorLike, *, tau: float = 1.0) -> nn.Linear:
    r"""Copy a linear head with the log-prior added to its bias: prior correction at no cost.

    .. math:: f'_k = w_k^\top z + b_k + \tau \log \pi_k

    with features :math:`z`, weights :math:`w_k`, bias :math:`b_k` and prior :math:`\pi`. Plain
    cross-entropy on :math:`f'` is the logit-adjusted loss on :math:`f`, and
    :math:`\partial f' / \partial b` is the identity: at each step the gradients of :math:`w`,
    of :math:`b` and of all layers below are those of :func:`pc_cross_entropy`. An optimiser whose
    steps depend on gradients alone, as SGD with momentum or Adam, takes the same steps; the bias
    stays ahead by :math:`\tau \log \pi` throughout, and :func:`unfold_prior` takes it out.

    It is not the same

    - with weight decay on the bias, which pulls :math:`b + \tau \log \pi` towards zero instead
      of :math:`b`: leave the head's bias out of the decay;
    - with gradients or steps that depend on the size of parameters (LARS, LAMB, decoupled decay);
    - in half precision, also under autocast: there logits are rounded after the log-prior is
      added, here in float32 before it, so that the last digits differ;
    - when the prior changes during training, as in incremental learning: unfold the old, fold the
      new.

    Args:
        head: Any `nn.Linear`, untouched; one without bias gets one that is not trained.
        prior: :math:`\pi`, shape (classes,), all positive.
        tau: Strength of the correction.

    Returns:
        A new layer that has its own parameters; make the optimiser afterwards.

    Raises:
        TypeError: `head` is not an `nn.Linear`.
        ValueError: A prior that is no distribution over the head's outputs, or with zeros, for
            which the bias would be infinite; :class:`PCSoftmaxLoss` takes those.

    Example:
        >>> head = fold_prior(nn.Linear(5, 2), [0.9, 0.1])  # train it with plain cross-entropy
        >>> head = unfold_prior(head, [0.9, 0.1])  # and predict with the argmax
        >>> head(torch.randn(3, 5)).argmax(1).shape
        torch.Size([3])

    """
    return _with_bias(head, prior, tau)


def unfold_prior(head: nn.Linear, prior: PriorLike, *, tau: float = 1.0) -> nn.Linear:
    r"""Take out what :func:`fold_prior` put in; what is left are logits that carry no prior.

    .. math:: f_k = w_k^\top z + b'_k - \tau \log \pi_k

    Needed before prediction: the argmax of the folded head is that of the training prior. With
    equally likely classes predict with the argmax of :math:`f`, otherwise with
    :func:`adjust_logits`. Also applies to a network trained with plain cross-entropy, whose logits
    it corrects post hoc.

    Args and errors as in :func:`fold_prior`.

    Example:
        >>> head = nn.Linear(5, 2)
        >>> again = unfold_prior(fold_prior(head, [0.9, 0.1]), [0.9, 0.1])
        >>> torch.allclose(again.bias, head.bias, atol=1e-6)
        True

    """
    return _with_bias(head, prior, -tau)


def _with_bias(head: nn.Linear, prior: PriorLike, tau: float) -> nn.Linear:
    if not isinstance(head, nn.Linear):
        raise TypeError(f"head must be an nn.Linear, got {type(head).__name__}")
    pi = as_prior(prior, classes=head.out_features)
    if (pi == 0).any():
        absent = (pi == 0).nonzero().flatten().tolist()
        raise ValueError(f"prior is zero for classes {absent}: the bias would be infinite")
    result = copy.deepcopy(head)
    offset = tau * pi.log().to(head.weight.device)
    if result.bias is None:
        result.bias = nn.Parameter(offset.to(head.weight.dtype), requires_grad=False)
    else:
        with torch.no_grad():
            result.bias.add_(offset)
    return result
