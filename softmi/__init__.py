"""softmi: a neural network classifier as an estimator of mutual information.

=====================================================  ==========================================
In the papers                                          Here
=====================================================  ==========================================
label entropy H(Y)                                     :func:`entropy`
log p(x, y) / (p(x) p(y))                              :func:`pointwise_mutual_information`
softmax and PC-softmax estimates of I(X; Y)            :func:`mutual_information`
the same, streamed in constant memory                  :class:`softmi.metrics.MutualInformation`
the same, of arrays X and y, cross-fitted              :class:`SoftmaxMutualInformation`
MINE, NWJ, InfoNCE, SMILE, nearest neighbours          :mod:`softmi.estimators`
CMI, concentration of outputs (Yang et al.)            :func:`conditional_mutual_information`
PC-softmax s_y(x)                                      :func:`pc_softmax`, :func:`pc_log_softmax`
PC-softmax loss, balanced softmax, logit adjustment    :func:`pc_cross_entropy`,
                                                       :class:`PCSoftmaxLoss`
the same two under their own names                     :func:`balanced_softmax_cross_entropy`,
                                                       :func:`logit_adjusted_cross_entropy`
the same without cost, in the bias of the head         :func:`fold_prior`, :func:`unfold_prior`
focal loss, class-balanced weights, LDAM-DRW           :class:`FocalLoss`, :class:`LDAMLoss`,
                                                       :func:`balanced_class_weights`
post-hoc logit adjustment, post-compensated softmax    :func:`adjust_logits`
the synthetic task                                     :class:`GaussianClasses`
a label-noise channel over images                      :class:`LabelNoise`
CAM, infoCAM, infoCAM+, Finer-CAM's contrast            :class:`ActivationMaps`,
                                                       :func:`class_activation_map`
the region R of infoCAM (window sum)                   :func:`window_sum`
a map of cells over the pixels of its picture          :func:`map_to_picture`
box of a map, IoU                                      :func:`boxes_from_score_maps`,
                                                       :func:`box_iou`
GT-known Loc, Top-1 Loc                                :class:`LocalizationAccuracy`
MaxBoxAcc, MaxBoxAccV2, PxAP                           :class:`MaxBoxAccuracy`,
                                                       :class:`MaxBoxAccuracyV2`,
                                                       :class:`PixelAveragePrecision`
the same with a threshold from held-out images         :class:`BoxAccuracy`
=====================================================  ==========================================
"""

import lazy_loader

# A module is imported when one of its names is first asked for: a loss should not wait for
# torchvision, torchmetrics and scikit-learn, which take longer to import than torch itself.
# The names and their homes are listed once, in the stub beside this file.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.2.0"
