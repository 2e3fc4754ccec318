"""What the networks are given: robust scaling of the features."""

import numpy as np
import pytest

from softmi.estimators._networks import Scaling


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_scaling_is_monotone_and_bounded(dtype, scale):
    rng = np.random.default_rng(0)
    x = (scale * rng.standard_cauchy((500, 2))).astype(dtype)
    z = Scaling.of(x)(x)
    assert z.dtype == np.float32
    assert np.abs(z).max() <= 8 * (1 + 1e-6)
    for column in range(2):
        order = np.argsort(x[:, column])
        # The fourth root is rounded, by a few units in the last place of 8.
        assert (np.diff(z[order, column]) > -4e-6).all()
        middle = np.abs(z[order, column]) < 3
        assert (np.diff(z[order, column][middle]) > 0).all()


def test_scaling_standardises_a_gaussian_whatever_a_few_wild_values():
    rng = np.random.default_rng(1)
    x = 5 + 3 * rng.standard_normal((4_000, 1))
    x[:5] = 1e15
    z = Scaling.of(x)(x)[5:]
    # Median and quartiles of 4000 samples have standard errors of 0.02.
    assert abs(np.median(z)) < 0.06
    assert abs(z.std() - 1) < 0.06
    beyond = Scaling.of(x)(np.array([[1e300], [-1e300], [5.0]]))
    np.testing.assert_allclose(beyond[:, 0], [8, -8, 0], rtol=0, atol=0.06)


def test_new_data_of_lower_precision_are_scaled_alike():
    x = np.random.default_rng(2).standard_normal((200, 2)) * [1e-60, 1e60]
    scaling = Scaling.of(x)
    found = scaling(np.zeros((3, 2), dtype=np.float32))
    np.testing.assert_array_equal(found, scaling(np.zeros((3, 2))))
    assert np.isfinite(found).all()
