from .certified import (
    certified_lower_bound as certified_lower_bound,
)
from .conditional import (
    conditional_mutual_information as conditional_mutual_information,
)
from .estimate import (
    MutualInformationEstimate as MutualInformationEstimate,
)
from .estimate import (
    label_log_probabilities as label_log_probabilities,
)
from .estimate import (
    mutual_information as mutual_information,
)
from .estimate import (
    normal_interval as normal_interval,
)
from .labels import (
    LabelPrior as LabelPrior,
)
from .labels import (
    label_prior as label_prior,
)
from .nats import (
    InNats as InNats,
)
from .pointwise import (
    entropy as entropy,
)
from .pointwise import (
    pointwise_mutual_information as pointwise_mutual_information,
)
