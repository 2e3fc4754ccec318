"""softmi: a neural network classifier as an estimator of mutual information.

=====================================================  ==========================================
In the papers                                          Here
=====================================================  ==========================================
label entropy H(Y)                                     :func:`entropy`
log p(x, y) / (p(x) p(y))                              :func:`pointwise_mutual_information`
softmax and PC-softmax estimates of I(X; Y)            :func:`mutual_information`
the same, streamed in constant memory                  :class:`softmi.metrics.MutualInformation`
the same, of arrays X and y, cross-fitted              :class:`SoftmaxMutualInformation`
MINE, NWJ, InfoNCE, SMILE, nearest neighbours          :mod:`softmi.bounds`
CMI, concentration of outputs (Yang et al.)            :func:`conditional_mutual_information`
PC-softmax s_y(x)                                      :func:`pc_softmax`, :func:`pc_log_softmax`
PC-softmax loss, balanced softmax, logit adjustment    :func:`pc_cross_entropy`,
                                                       :class:`PCSoftmaxLoss`
the same two under their own names                     :func:`balanced_softmax_cross_entropy`,
                                                       :func:`logit_adjusted_cross_entropy`
the same without cost, in the bias of the head         :func:`fold_prior`, :func:`unfold_prior`
focal loss, class-balanced weights, LDAM-DRW           :class:`FocalLoss`, :class:`LDAMLoss`,
                                                       :func:`balanced_class_weights`
post-hoc logit adjustment, post-compensated softmax    :func:`adjust_logits`
the synthetic task                                     :class:`GaussianClasses`
a label-noise channel over images                      :class:`LabelNoise`
CAM, infoCAM, infoCAM+, Finer-CAM's contrast            :class:`ActivationMaps`,
                                                       :func:`class_activation_map`
the region R of infoCAM (window sum)                   :func:`window_sum`
box of a map, IoU                                      :func:`boxes_from_score_maps`,
                                                       :func:`box_iou`
GT-known Loc, Top-1 Loc                                :class:`LocalizationAccuracy`
MaxBoxAcc, MaxBoxAccV2, PxAP                           :class:`MaxBoxAccuracy`,
                                                       :class:`MaxBoxAccuracyV2`,
                                                       :class:`PixelAveragePrecision`
the same with a threshold from held-out images         :class:`BoxAccuracy`
=====================================================  ==========================================
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softmi.activation_maps import ActivationMaps
    from softmi.boxes import box_iou, boxes_from_score_maps, ious_over_thresholds
    from softmi.cam import class_activation_map, contrast_weights, sum_in_boxes, window_sum
    from softmi.estimators import SoftmaxMutualInformation
    from softmi.imbalance import (
        FocalLoss,
        LDAMLoss,
        NormalisedLinear,
        balanced_class_weights,
        focal_loss,
        ldam_loss,
    )
    from softmi.information import (
        MutualInformationEstimate,
        conditional_mutual_information,
        entropy,
        mutual_information,
        pointwise_mutual_information,
    )
    from softmi.localization import (
        BoxAccuracy,
        LocalizationAccuracy,
        MaxBoxAccuracy,
        MaxBoxAccuracyV2,
        PixelAveragePrecision,
    )
    from softmi.losses import (
        PCSoftmaxLoss,
        balanced_softmax_cross_entropy,
        logit_adjusted_cross_entropy,
        pc_cross_entropy,
        pc_log_softmax,
        pc_softmax,
    )
    from softmi.priors import adjust_logits, fold_prior, unfold_prior
    from softmi.synthetic import (
        DiscreteJoint,
        GaussianClasses,
        LabelNoise,
        NoisyXor,
        Rings,
        StudentTClasses,
        long_tailed_prior,
    )
    from softmi.training import fit

__version__ = "0.1.0"

__all__ = [
    "ActivationMaps",
    "BoxAccuracy",
    "DiscreteJoint",
    "FocalLoss",
    "GaussianClasses",
    "LDAMLoss",
    "LabelNoise",
    "LocalizationAccuracy",
    "MaxBoxAccuracy",
    "MaxBoxAccuracyV2",
    "MutualInformationEstimate",
    "NoisyXor",
    "NormalisedLinear",
    "PCSoftmaxLoss",
    "PixelAveragePrecision",
    "Rings",
    "SoftmaxMutualInformation",
    "StudentTClasses",
    "adjust_logits",
    "balanced_class_weights",
    "balanced_softmax_cross_entropy",
    "box_iou",
    "boxes_from_score_maps",
    "class_activation_map",
    "conditional_mutual_information",
    "contrast_weights",
    "entropy",
    "fit",
    "focal_loss",
    "fold_prior",
    "ious_over_thresholds",
    "ldam_loss",
    "logit_adjusted_cross_entropy",
    "long_tailed_prior",
    "mutual_information",
    "pc_cross_entropy",
    "pc_log_softmax",
    "pc_softmax",
    "pointwise_mutual_information",
    "sum_in_boxes",
    "unfold_prior",
    "window_sum",
]

# A module is imported when one of its names is first asked for: a loss should not wait for
# torchvision, torchmetrics and scikit-learn, which take longer to import than torch itself.
_HOMES = {
    "activation_maps": "ActivationMaps",
    "boxes": "box_iou boxes_from_score_maps ious_over_thresholds",
    "cam": "class_activation_map contrast_weights sum_in_boxes window_sum",
    "estimators": "SoftmaxMutualInformation",
    "imbalance": (
        "FocalLoss LDAMLoss NormalisedLinear balanced_class_weights focal_loss ldam_loss"
    ),
    "information": (
        "MutualInformationEstimate conditional_mutual_information entropy mutual_information "
        "pointwise_mutual_information"
    ),
    "localization": (
        "BoxAccuracy LocalizationAccuracy MaxBoxAccuracy MaxBoxAccuracyV2 PixelAveragePrecision"
    ),
    "losses": (
        "PCSoftmaxLoss balanced_softmax_cross_entropy logit_adjusted_cross_entropy "
        "pc_cross_entropy pc_log_softmax pc_softmax"
    ),
    "priors": "adjust_logits fold_prior unfold_prior",
    "synthetic": (
        "DiscreteJoint GaussianClasses LabelNoise NoisyXor Rings StudentTClasses long_tailed_prior"
    ),
    "training": "fit",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"softmi.{_HOME[name]}"), name)
    elif not name.startswith("_") and find_spec(f"softmi.{name}"):
        value = import_module(f"softmi.{name}")
    else:
        raise AttributeError(f"module 'softmi' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
