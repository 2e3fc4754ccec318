from .calibration import (
    BINS as BINS,
)
from .calibration import (
    Calibration as Calibration,
)
from .critic import (
    CriticEstimate as CriticEstimate,
)
from .critic import (
    critic_mutual_information as critic_mutual_information,
)
from .extrapolation import (
    GAP_ERROR as GAP_ERROR,
)
from .extrapolation import (
    ExtrapolatedMutualInformation as ExtrapolatedMutualInformation,
)
from .extrapolation import (
    extrapolate as extrapolate,
)
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
    SoftmaxMutualInformation as SoftmaxMutualInformation,
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
