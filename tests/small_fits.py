"""A light fit and small samples that several test files share."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from softmi import GaussianClasses
from softmi.estimators import SoftmaxMutualInformation

LDA = LinearDiscriminantAnalysis()


def light(**options) -> SoftmaxMutualInformation:
    """Two folds, no extrapolation, one rigid classifier: a fit takes a twentieth of a second."""
    options = {"folds": 2, "extrapolate": False, "classifiers": [LDA], "random_state": 0} | options
    return SoftmaxMutualInformation(**options)


def two_gaussians(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of equal probability and N(-1, 1) or N(1, 1) beside a column of noise, float64."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return rng.standard_normal((n, 2)) + np.c_[2.0 * y - 1, np.zeros(n)], y


TWO_GAUSSIANS = GaussianClasses([[-1.0], [1.0]], [0.5, 0.5]).mutual_information().value
X, Y = two_gaussians(120)
