r"""Activation maps of a user's own network, found in one forward pass, in nats a cell.

:class:`softmi.ActivationMaps` looks on while a network classifies a batch. It finds the feature
maps that the network averages and the linear head behind them, proves on the numbers of that very
batch that the logits are sums over cells,

.. math:: f_k(x) = b_k + \frac{s(x)}{hw} \sum_{i,j} \sum_c W_{kc} A_c(i, j; x) ,

and hands back what all maps of the contrast family need. Where the head is not linear in the
pooled maps there is no such account, and it says so.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from softmi._checks import (
    PriorLike,
    as_prior,
    at_least_float32,
    check_logits,
    check_targets,
    describe,
)
from softmi.maps._recorder import Account, Recorder, accounts, epsilon, equal, logits_of
from softmi.maps.contrast import Contrast, class_activation_map, contrast_weights


@dataclass(frozen=True, eq=False)
class Activations:
    r"""What one forward pass left for maps of any class against any contrast.

    .. math:: f_k(x_n) = b_k + \frac{s_n}{hw} \sum_{i,j} \sum_c W_{kc} A_{nc}(i, j)

    Attributes:
        logits: f, as the network gave them, shape (batch, classes).
        feature_maps: A, the maps that the network averages, shape (batch, channels, height,
            width), in its dtype.
        weights: W, shape (classes, channels). Those of the head itself, not a copy, where the head
            is a linear layer right behind the average; the unit matrix where feature maps are
            class maps; centred over channels where a LayerNorm comes between.
        bias: b, shape (classes,), with what a LayerNorm adds.
        scale: s, shape (batch,): one but for a LayerNorm, where it is the inverse standard
            deviation of the image's pooled features.
        log_prior: Logarithm of the training prior; None if there is nothing to correct.

    """

    logits: Float[Tensor, "batch classes"]
    feature_maps: Float[Tensor, "batch channels height width"] = field(repr=False)
    weights: Float[Tensor, "classes channels"] = field(repr=False)
    bias: Float[Tensor, " classes"] = field(repr=False)
    scale: Float[Tensor, " batch"] = field(repr=False)
    log_prior: Float[Tensor, " classes"] | None = field(repr=False, default=None)

    @property
    def predicted(self) -> Int[Tensor, " batch"]:
        """The class of the highest logit of each image, which is what the network answers."""
        return self.logits.argmax(1)

    def maps(
        self,
        classes: int | Sequence[int] | Tensor | None = None,
        *,
        contrast: Contrast = "none",
        rivals: int = 3,
        gamma: float = 1.0,
    ) -> Float[Tensor, "batch height width"]:
        r"""Maps of a class against a contrast, in nats a cell.

        .. math::
            m_n(i, j) = \frac{s_n}{hw} \sum_c v_{nc} A_{nc}(i, j), \qquad
            v_n = W_{y_n} - \gamma \, \frac{1}{|R_n|} \sum_{k \in R_n} W_k

        with :math:`R_n` of :func:`softmi.contrast_weights`: empty for "none" (CAM), all other
        classes for "mean" (infoCAM), the least likely for "least" (infoCAM+), the nearest for
        "rivals" (Finer-CAM's contrast). With a prior, "least" and "rivals" rank by pointwise
        mutual information, :math:`f_k - \log \pi_k`, and without one by the logits.

        Summed over cells and added to :meth:`offset`, a map is :math:`f_y - \gamma \bar f_R`; for
        :math:`\gamma = 1` and a contrast other than "none" a difference of pointwise mutual
        informations, so that the sum over a region is its share of that information. In float32
        rounding leaves about 1e-6 of the largest logit on torchvision's networks.

        Args:
            classes: The class y of each image: an integer for all, one for each image, or None
                for the predicted ones.
            contrast: "none", "mean", "least" or "rivals".
            rivals: Number of rivals for `contrast="rivals"`.
            gamma: Weight of the contrast.

        Returns:
            Shape (batch, height, width), in float32 or, for float64 feature maps, float64, since
            half precision would not add up.

        Raises:
            TypeError: Classes that are no integers.
            ValueError: Classes out of range or not one for each image, an unknown contrast, too
                many rivals.

        """
        with torch.autocast(self.logits.device.type, enabled=False):
            maps = class_activation_map(
                at_least_float32(self.feature_maps), self.weights, self._classes(classes),
                contrast=contrast, rivals=rivals, gamma=gamma, logits=self._ranking(),
            )  # fmt: skip
        return maps * self.scale.to(maps)[:, None, None]

    def offset(
        self,
        classes: int | Sequence[int] | Tensor | None = None,
        *,
        contrast: Contrast = "none",
        rivals: int = 3,
        gamma: float = 1.0,
    ) -> Float[Tensor, " batch"]:
        r"""What no cell holds: the difference of biases, less that of log priors, in nats.

        .. math:: o_n = \beta_{y_n} - \gamma \, \frac{1}{|R_n|} \sum_{k \in R_n} \beta_k , \qquad
            \beta_k = b_k - \log \pi_k

        without :math:`\log \pi` if no prior was given. Arguments and errors as in :meth:`maps`.

        Returns:
            Shape (batch,), in the dtype of the maps.

        """
        beta = at_least_float32(self.bias).to(self._ranking().dtype)
        if self.log_prior is not None:
            beta = beta - self.log_prior.to(beta)
        chosen = self._classes(classes)
        return contrast_weights(
            beta[:, None], chosen, contrast=contrast, rivals=rivals, gamma=gamma,
            logits=self._ranking(),
        )[:, 0]  # fmt: skip

    def _ranking(self) -> Tensor:
        """Logits that rank classes by pointwise mutual information, as far as we know it."""
        logits = at_least_float32(self.logits)
        return logits if self.log_prior is None else logits - self.log_prior.to(logits)

    def _classes(self, classes: int | Sequence[int] | Tensor | None) -> Tensor:
        if classes is None:
            return self.predicted
        chosen = torch.as_tensor(classes, device=self.logits.device)
        if chosen.ndim == 0:
            chosen = chosen.expand(len(self.logits))
        check_targets(chosen, self.logits)
        return chosen.long()


class ActivationMaps:
    r"""Class activation maps of a network as it is, in nats, from one forward pass.

    Finds by itself the feature maps :math:`A` that the network averages over cells and the linear
    head behind the average; then, on every batch, checks that both account for the logits. Three
    shapes of network are known:

    - average, then a linear layer or 1x1 convolution: :math:`f = W \bar A + b` (resnet, densenet,
      efficientnet, mobilenet_v2, swin and others), with or without a ReLU before the average;
    - average, LayerNorm, linear layer (convnext): with :math:`g, \beta` of the LayerNorm,
      :math:`f = W (g \odot (\bar A - \mu) / \sigma + \beta) + b`. The mean :math:`\mu` over
      channels is linear in :math:`A` and goes into the weights; the image's own :math:`\sigma` is
      a number that is taken as given: the account is exact, but not a derivative;
    - class maps, then the average (squeezenet): :math:`f = \bar A`.

    Example::

        with ActivationMaps(model.eval()) as look:
            seen = look(images)
        maps = seen.maps(contrast="mean")

    Hooks are on the model during a call and at no other time. The training or evaluation state of
    the model stays as it is; in training mode, where BatchNorm and dropout make images of a batch
    depend on each other or on chance, a call is refused.

    Departs from the authors' code (Qin et al. 2019), where maps exist for networks made for them,
    and from Grad-CAM in that nothing is differentiated: it is exact or refused.

    Args:
        model: Maps images to logits, or to a tuple that starts with them, or to an object or
            dictionary with `logits`.
        features: Name of the module that puts out the feature maps, as in `named_modules()`; None
            to find it.
        head: Name of the linear layer that puts out the logits; None to find it.
        prior: Class probabilities of the training data, of a network trained by plain softmax
            cross-entropy: offsets are then those of pointwise mutual information. None for a
            prior-corrected network, or to stay with logits.

    Raises:
        TypeError: `model` is not a module.
        ValueError: A name that the model does not have, or a prior that is not a distribution or
            has a class of probability zero.

    Example:
        >>> from torchvision.models import resnet18
        >>> images = torch.rand(2, 3, 64, 64)
        >>> with ActivationMaps(resnet18().eval()) as look:
        ...     seen = look(images)
        >>> maps = seen.maps(contrast="mean")  # infoCAM of the predicted classes, in nats a cell
        >>> tuple(maps.shape)
        (2, 2, 2)

    """

    def __init__(
        self,
        model: nn.Module,
        features: str | None = None,
        head: str | None = None,
        *,
        prior: PriorLike | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        names = [name for name, _ in model.named_modules()]
        for option, name in (("features", features), ("head", head)):
            if name is not None and name not in names:
                near = difflib.get_close_matches(name, names, n=5, cutoff=0.3) or names[-5:]
                raise ValueError(f"the model has no module {option}={name!r}; near it: {near}")
        self.model = model
        self.features, self.head = features, head
        self._prior = None if prior is None else as_prior(prior)
        if self._prior is not None and not (self._prior > 0).all():
            raise ValueError(f"prior must be positive for a difference of log priors, got {prior}")
        self._found: Account | None = None
        self._open = False

    def __enter__(self) -> "ActivationMaps":
        if self._open:
            raise RuntimeError("this ActivationMaps is in use already; make another one")
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False

    def __call__(self, *inputs: Any, gradients: bool = False, **options: Any) -> Activations:
        """Classify a batch and keep what its maps need.

        Args:
            *inputs: What the model takes, as for `model(*inputs, **options)`: images.
            gradients: Keep the graph, so that maps can be differentiated. By default nothing is
                recorded for a backward pass.
            **options: Passed on to the model.

        Raises:
            RuntimeError: Outside a `with` block.
            ValueError: A module in training mode; logits that are not finite or not of shape
                (batch, classes); a network whose logits are no linear function of the average of
                its feature maps.

        """
        if not self._open:
            raise RuntimeError("use it as `with ActivationMaps(model) as look: look(images)`")
        for name, module in self.model.named_modules():
            if module.training:
                raise ValueError(
                    f"the model is in training mode ({name or 'model'}: {type(module).__name__}):"
                    " BatchNorm and dropout would make maps depend on the batch and on chance; "
                    "call model.eval() first"
                )
        watch = None if self._found is None else {self._found.features}
        recorder = Recorder(keep=self.features)
        with torch.set_grad_enabled(gradients):
            output = recorder.run(self.model, watch, inputs, options)
            logits = logits_of(output)
            check_logits(logits, finite=True)
            with torch.autocast(logits.device.type, enabled=False):  # the proof in full precision
                account = self._found or self._find(recorder, logits)
                maps = recorder.maps_of(account.features)
                seen = self._proved(account, maps, logits)
        if seen is None:
            raise ValueError(
                f"feature maps of {account.features!r}, {describe(maps)}, and head "
                f"{account.head!r} do not account for the logits of this batch: is the average "
                "over all cells, for images of this size too?"
            )
        # A batch of zeros is accounted for by anything: find again with the next one.
        if seen.feature_maps.detach().any():
            self._found = account
        return seen

    def _proved(self, account: Account, maps: Tensor, logits: Tensor) -> Activations | None:
        """Take A, W, b and s from the modules of an account; None if they give other logits."""
        maps = maps.relu() if account.relu else maps
        kind, attached = at_least_float32(logits).dtype, torch.is_grad_enabled()
        scale = torch.ones(len(logits), dtype=kind, device=logits.device)
        if account.head is None:
            weights = torch.eye(logits.shape[1], dtype=kind, device=logits.device)
            bias = weights.new_zeros(len(weights))
        else:
            head: Any = self.model.get_submodule(account.head)
            weights = at_least_float32(head.weight.flatten(1))
            bias = weights.new_zeros(len(weights)) if head.bias is None else head.bias
            bias = at_least_float32(bias)
        if weights.shape != (logits.shape[1], maps.shape[1]):
            return None
        if account.norm is not None:
            norm: Any = self.model.get_submodule(account.norm)
            if norm.bias is not None:
                bias = bias + weights @ norm.bias.to(weights)
            if norm.weight is not None:
                weights = weights * norm.weight.to(weights)
            # The mean over channels is linear in the maps: taken from the weights instead.
            weights = weights - weights.mean(1, keepdim=True)
            pooled = at_least_float32(maps).mean((2, 3))
            scale = (pooled.var(1, correction=0) + norm.eps).rsqrt()
        if not attached:
            weights, bias = weights.detach(), bias.detach()
        log_prior: Tensor | None = None
        if self._prior is not None:
            prior = as_prior(self._prior, classes=logits.shape[1], values=False)
            log_prior = prior.log().to(scale)
        seen = Activations(logits, maps, weights, bias, scale, log_prior)
        return seen if _adds_up(seen) else None

    def _find(self, recorder: Recorder, logits: Tensor) -> Account:
        """Find the account that holds on the numbers of this batch, of the finest maps."""
        named = [h for h in recorder.heads if self.head in (None, h.name)]
        heads = [h for h in named if equal(h.output.flatten(1), logits)]
        small: str | None = None
        # Stable: among maps of the same number of cells the earliest come first.
        for outputs in sorted(recorder.candidates(), key=lambda o: -o.cells):
            for account in accounts(outputs, heads, recorder.norms, logits, self.head):
                if self._proved(account, outputs.maps, logits) is None:
                    continue
                if outputs.cells > 1 or self.features is not None:
                    return account
                small = small or account.features
        raise ValueError(
            recorder.refusal(type(self.model).__name__, heads, self.head, logits.shape[1], small)
        )


def _adds_up(seen: Activations) -> bool:
    """Whether maps and bias give the logits up to rounding, for all classes."""
    with torch.no_grad():
        maps, weights = at_least_float32(seen.feature_maps), seen.weights.to(seen.scale)
        pooled = maps.mean((2, 3)).to(weights)
        found = pooled @ weights.T * seen.scale[:, None] + seen.bias
        eps = epsilon(seen.feature_maps, seen.logits)
        if weights.is_cuda and torch.backends.cuda.matmul.allow_tf32:
            eps = max(eps, 2.0**-10)
        # |sum_c W_kc z_c| <= |W_k| |z|: rounding of the factors, then of the sums.
        terms = len(pooled[0]) + maps[0, 0].numel()
        bound = 8 * eps + terms * torch.finfo(weights.dtype).eps
        size = weights.norm(dim=1) * (seen.scale * pooled.norm(dim=1))[:, None] + seen.bias.abs()
        return bool(((found - seen.logits).abs() <= bound * size).all())
