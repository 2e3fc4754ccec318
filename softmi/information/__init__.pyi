from .conditional import (
    conditional_mutual_information as conditional_mutual_information,
)
from .estimate import (
    MutualInformationEstimate as MutualInformationEstimate,
)
from .estimate import (
    mutual_information as mutual_information,
)
from .pointwise import (
    entropy as entropy,
)
from .pointwise import (
    pointwise_mutual_information as pointwise_mutual_information,
)
