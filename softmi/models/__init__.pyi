from .backbones import (
    IMAGENET_MEAN_STD as IMAGENET_MEAN_STD,
)
from .backbones import (
    Backbone as Backbone,
)
from .backbones import (
    mobilenet_v2_features as mobilenet_v2_features,
)
from .backbones import (
    squeezenet1_1_features as squeezenet1_1_features,
)
from .efficientnet_lite import (
    efficientnet_lite0 as efficientnet_lite0,
)
from .efficientnet_lite import (
    efficientnet_lite0_features as efficientnet_lite0_features,
)
from .efficientnet_lite import (
    efficientnet_lite2 as efficientnet_lite2,
)
from .efficientnet_lite import (
    efficientnet_lite2_features as efficientnet_lite2_features,
)
from .features import (
    average_pool as average_pool,
)
from .features import (
    cache_root as cache_root,
)
from .features import (
    extract_feature_maps as extract_feature_maps,
)
from .small import (
    MLP as MLP,
)
from .small import (
    CifarResNet as CifarResNet,
)
from .small import (
    GAPNet as GAPNet,
)
from .small import (
    LeNet as LeNet,
)
from .wsol import (
    AttentionDropout as AttentionDropout,
)
from .wsol import (
    resnet50_wsol as resnet50_wsol,
)
from .wsol import (
    vgg16_gap as vgg16_gap,
)
