from ._sweep import (
    ious_over_thresholds as ious_over_thresholds,
)
from .accuracy import (
    V2_IOUS as V2_IOUS,
)
from .accuracy import (
    BoxAccuracy as BoxAccuracy,
)
from .accuracy import (
    LocalizationAccuracy as LocalizationAccuracy,
)
from .accuracy import (
    MaxBoxAccuracy as MaxBoxAccuracy,
)
from .accuracy import (
    MaxBoxAccuracyV2 as MaxBoxAccuracyV2,
)
from .activation_maps import (
    ActivationMaps as ActivationMaps,
)
from .activation_maps import (
    Activations as Activations,
)
from .blind_boxes import (
    SIDES as SIDES,
)
from .blind_boxes import (
    Cell as Cell,
)
from .blind_boxes import (
    LocalizationTable as LocalizationTable,
)
from .blind_boxes import (
    TrueBoxes as TrueBoxes,
)
from .blind_boxes import (
    baseline_results as baseline_results,
)
from .blind_boxes import (
    best_centred_side as best_centred_side,
)
from .blind_boxes import (
    centred_box as centred_box,
)
from .blind_boxes import (
    localization_table as localization_table,
)
from .boxes import (
    box_iou as box_iou,
)
from .boxes import (
    boxes_from_score_maps as boxes_from_score_maps,
)
from .contrast import (
    Contrast as Contrast,
)
from .contrast import (
    class_activation_map as class_activation_map,
)
from .contrast import (
    contrast_weights as contrast_weights,
)
from .picture import (
    Interpolation as Interpolation,
)
from .picture import (
    map_to_picture as map_to_picture,
)
from .pixels import (
    PixelAveragePrecision as PixelAveragePrecision,
)
from .regions import (
    share_of_cells as share_of_cells,
)
from .regions import (
    sum_in_boxes as sum_in_boxes,
)
from .regions import (
    window_sum as window_sum,
)
