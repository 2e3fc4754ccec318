from .discrete import (
    DiscreteJoint as DiscreteJoint,
)
from .gaussian import (
    GaussianClasses as GaussianClasses,
)
from .label_noise import (
    LabelNoise as LabelNoise,
)
from .rings import (
    Rings as Rings,
)
from .student import (
    StudentTClasses as StudentTClasses,
)
from .task import (
    KnownMutualInformation as KnownMutualInformation,
)
from .task import (
    LabelledTask as LabelledTask,
)
from .task import (
    long_tailed_prior as long_tailed_prior,
)
from .xor import (
    NoisyXor as NoisyXor,
)
