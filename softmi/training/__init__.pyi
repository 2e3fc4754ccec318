from .data import (
    CropsAndFlips as CropsAndFlips,
)
from .data import (
    TensorBatches as TensorBatches,
)
from .data import (
    loader as loader,
)
from .loop import (
    History as History,
)
from .loop import (
    LossFunction as LossFunction,
)
from .loop import (
    epoch_seconds as epoch_seconds,
)
from .loop import (
    fit as fit,
)
from .loop import (
    predict_logits as predict_logits,
)
from .loop import (
    seed_everything as seed_everything,
)
from .loop import (
    warm_up_and_drops as warm_up_and_drops,
)
