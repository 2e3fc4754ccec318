from . import (
    datasets as datasets,
)
from . import (
    estimators as estimators,
)
from . import (
    information as information,
)
from . import (
    losses as losses,
)
from . import (
    maps as maps,
)
from . import (
    metrics as metrics,
)
from . import (
    models as models,
)
from . import (
    synthetic as synthetic,
)
from . import (
    training as training,
)
from .estimators.softmax import (
    SoftmaxMutualInformation as SoftmaxMutualInformation,
)
from .information.conditional import (
    conditional_mutual_information as conditional_mutual_information,
)
from .information.estimate import (
    MutualInformationEstimate as MutualInformationEstimate,
)
from .information.estimate import (
    mutual_information as mutual_information,
)
from .information.pointwise import (
    entropy as entropy,
)
from .information.pointwise import (
    pointwise_mutual_information as pointwise_mutual_information,
)
from .losses.margins import (
    LDAMLoss as LDAMLoss,
)
from .losses.margins import (
    NormalisedLinear as NormalisedLinear,
)
from .losses.margins import (
    ldam_loss as ldam_loss,
)
from .losses.prior_corrected import (
    PCSoftmaxLoss as PCSoftmaxLoss,
)
from .losses.prior_corrected import (
    balanced_softmax_cross_entropy as balanced_softmax_cross_entropy,
)
from .losses.prior_corrected import (
    logit_adjusted_cross_entropy as logit_adjusted_cross_entropy,
)
from .losses.prior_corrected import (
    pc_cross_entropy as pc_cross_entropy,
)
from .losses.prior_corrected import (
    pc_log_softmax as pc_log_softmax,
)
from .losses.prior_corrected import (
    pc_softmax as pc_softmax,
)
from .losses.priors import (
    adjust_logits as adjust_logits,
)
from .losses.priors import (
    fold_prior as fold_prior,
)
from .losses.priors import (
    unfold_prior as unfold_prior,
)
from .losses.reweighting import (
    FocalLoss as FocalLoss,
)
from .losses.reweighting import (
    balanced_class_weights as balanced_class_weights,
)
from .losses.reweighting import (
    focal_loss as focal_loss,
)
from .maps._sweep import (
    ious_over_thresholds as ious_over_thresholds,
)
from .maps.accuracy import (
    BoxAccuracy as BoxAccuracy,
)
from .maps.accuracy import (
    LocalizationAccuracy as LocalizationAccuracy,
)
from .maps.accuracy import (
    MaxBoxAccuracy as MaxBoxAccuracy,
)
from .maps.accuracy import (
    MaxBoxAccuracyV2 as MaxBoxAccuracyV2,
)
from .maps.activation_maps import (
    ActivationMaps as ActivationMaps,
)
from .maps.boxes import (
    box_iou as box_iou,
)
from .maps.boxes import (
    boxes_from_score_maps as boxes_from_score_maps,
)
from .maps.contrast import (
    class_activation_map as class_activation_map,
)
from .maps.contrast import (
    contrast_weights as contrast_weights,
)
from .maps.picture import (
    map_to_picture as map_to_picture,
)
from .maps.pixels import (
    PixelAveragePrecision as PixelAveragePrecision,
)
from .maps.regions import (
    sum_in_boxes as sum_in_boxes,
)
from .maps.regions import (
    window_sum as window_sum,
)
from .synthetic.discrete import (
    DiscreteJoint as DiscreteJoint,
)
from .synthetic.gaussian import (
    GaussianClasses as GaussianClasses,
)
from .synthetic.label_noise import (
    LabelNoise as LabelNoise,
)
from .synthetic.rings import (
    Rings as Rings,
)
from .synthetic.student import (
    StudentTClasses as StudentTClasses,
)
from .synthetic.task import (
    long_tailed_prior as long_tailed_prior,
)
from .synthetic.xor import (
    NoisyXor as NoisyXor,
)
from .training.loop import (
    fit as fit,
)

__version__: str
