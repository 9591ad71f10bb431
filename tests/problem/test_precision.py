"""Numbers as arrays: kept once, and still of the precision that is switched on."""

import jax
import numpy as np

from gradlab.problem.precision import number, put, zeros


def test_a_number_is_one_array_in_each_precision():
    wide = number(0.1)
    assert wide.dtype == np.float64
    assert float(wide) == 0.1
    assert number(0.1) is wide
    with jax.enable_x64(False):
        narrow = put(0.1)
        assert narrow.dtype == np.float32
        assert put(0.1) is narrow
        assert number(0.1) is wide
        assert zeros(3).dtype == np.float32
    with jax.enable_x64(True):
        assert put(0.1) is wide
        assert zeros(3).dtype == np.float64
        assert zeros(3) is zeros(3)


def test_numbers_that_are_equal_and_not_the_same_are_kept_apart():
    with jax.enable_x64(True):
        assert np.signbit(np.asarray(put(-0.0)))
        assert not np.signbit(np.asarray(put(0.0)))
        kinds = [put(value).dtype for value in (1, 1.0, True)]
        assert kinds == [np.dtype(np.int64), np.dtype(np.float64), np.dtype(bool)]
        assert np.isnan(np.asarray(put(np.nan)))


def test_nothing_of_a_trace_is_kept():
    @jax.jit
    def traced(x):
        return x + put(0.123) + number(0.456) + zeros(5)[0]

    with jax.enable_x64(True):
        assert abs(float(traced(1.0)) - 1.579) < 1e-12
        assert float(put(0.123)) == 0.123
        assert float(number(0.456)) == 0.456
        assert float(zeros(5)[0]) == 0.0
