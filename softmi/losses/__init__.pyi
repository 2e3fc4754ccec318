from .margins import (
    LDAMLoss as LDAMLoss,
)
from .margins import (
    NormalisedLinear as NormalisedLinear,
)
from .margins import (
    ldam_loss as ldam_loss,
)
from .prior_corrected import (
    PCSoftmaxLoss as PCSoftmaxLoss,
)
from .prior_corrected import (
    Targets as Targets,
)
from .prior_corrected import (
    balanced_softmax_cross_entropy as balanced_softmax_cross_entropy,
)
from .prior_corrected import (
    logit_adjusted_cross_entropy as logit_adjusted_cross_entropy,
)
from .prior_corrected import (
    pc_cross_entropy as pc_cross_entropy,
)
from .prior_corrected import (
    pc_log_softmax as pc_log_softmax,
)
from .prior_corrected import (
    pc_softmax as pc_softmax,
)
from .priors import (
    adjust_logits as adjust_logits,
)
from .priors import (
    fold_prior as fold_prior,
)
from .priors import (
    unfold_prior as unfold_prior,
)
from .reweighting import (
    FocalLoss as FocalLoss,
)
from .reweighting import (
    balanced_class_weights as balanced_class_weights,
)
from .reweighting import (
    focal_loss as focal_loss,
)
