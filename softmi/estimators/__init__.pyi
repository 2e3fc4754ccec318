from .simple import (
    logistic_regression_mutual_information as logistic_regression_mutual_information,
)
from .simple import (
    nearest_neighbour_mutual_information as nearest_neighbour_mutual_information,
)
from .simple import (
    plug_in_mutual_information as plug_in_mutual_information,
)
from .softmax import (
    BINS as BINS,
)
from .softmax import (
    GAP_ERROR as GAP_ERROR,
)
from .softmax import (
    Calibration as Calibration,
)
from .softmax import (
    ExtrapolatedMutualInformation as ExtrapolatedMutualInformation,
)
from .softmax import (
    SoftmaxMutualInformation as SoftmaxMutualInformation,
)
from .variational import (
    CriticEstimate as CriticEstimate,
)
from .variational import (
    critic_mutual_information as critic_mutual_information,
)
from .variational import (
    donsker_varadhan as donsker_varadhan,
)
from .variational import (
    infonce as infonce,
)
from .variational import (
    jensen_shannon as jensen_shannon,
)
from .variational import (
    nwj as nwj,
)
from .variational import (
    smile as smile,
)
