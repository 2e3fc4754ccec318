from ._files import (
    data_root as data_root,
)
from ._files import (
    sha256 as sha256,
)
from ._pictures import (
    content_sha256 as content_sha256,
)
from ._pictures import (
    decode_image as decode_image,
)
from .cifar import (
    cifar10 as cifar10,
)
from .cifar import (
    cifar10_long_tailed as cifar10_long_tailed,
)
from .cub import (
    CUB as CUB,
)
from .mnist import (
    mnist as mnist,
)
from .scenes import (
    CLASSES as CLASSES,
)
from .scenes import (
    FRAGMENT as FRAGMENT,
)
from .scenes import (
    MultiScenes as MultiScenes,
)
from .scenes import (
    Scenes as Scenes,
)
from .scenes import (
    digit_scenes as digit_scenes,
)
from .scenes import (
    digits as digits,
)
from .scenes import (
    multi_digit_scenes as multi_digit_scenes,
)
from .splits import (
    first_per_class as first_per_class,
)
from .splits import (
    imbalanced_cub_indices as imbalanced_cub_indices,
)
from .splits import (
    long_tailed_counts as long_tailed_counts,
)
from .splits import (
    paper_mnist_indices as paper_mnist_indices,
)
from .tiny_imagenet import (
    TINY_SIDE as TINY_SIDE,
)
from .tiny_imagenet import (
    TinyImageNet as TinyImageNet,
)
from .tiny_imagenet import (
    misread_boxes as misread_boxes,
)
