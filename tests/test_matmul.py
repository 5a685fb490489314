"""Products and transposes from vector instructions, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.engine.matmul import affine, affine_rows, padded, transpose

fuzzed = settings(max_examples=60, deadline=None, derandomize=True)


@fuzzed
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_affine_is_a_matrix_product(rows, depth, columns, transposed, dtype):
    """And writes nothing outside of what it says."""
    rng = np.random.default_rng(0)
    width = padded(columns)
    shape = (depth, rows) if transposed else (rows, depth)
    a, start = rng.standard_normal(shape).astype(dtype), rng.standard_normal(rows).astype(dtype)
    a = a.T if transposed else a
    x = rng.standard_normal((depth, width)).astype(dtype)
    buffer = np.full((rows + 2, width), 7, dtype)
    affine(a, x, start, buffer[1:-1], depth, width)
    expected = start[:, None].astype(float) + a.astype(float) @ x
    tolerance = 50 * float(np.finfo(dtype).eps)
    assert buffer[1:-1] == pytest.approx(expected, rel=tolerance, abs=tolerance * depth)
    assert (buffer[[0, -1]] == 7).all()


@fuzzed
@given(
    st.integers(1, 20), st.integers(1, 40), st.integers(1, 90),
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_a_product_by_rows_has_the_bits_of_one_by_columns(rows, depth, outputs, dtype):
    """A few samples a row each, or a column each: the same chain of multiply-adds."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((outputs, depth)).astype(dtype)
    bias = rng.standard_normal(padded(outputs)).astype(dtype)
    samples = rng.standard_normal((rows, depth)).astype(dtype)
    across = np.zeros((depth, padded(rows)), dtype)
    across[:, :rows] = samples.T
    columns = np.zeros((outputs, padded(rows)), dtype)
    affine(weight, across, bias, columns, depth, padded(rows))
    transposed = np.zeros((depth, padded(outputs)), dtype)
    transposed[:, :outputs] = weight.T
    buffer = np.full((rows + 2, padded(outputs)), 7, dtype)
    affine_rows(samples, transposed, bias, buffer[1:-1], depth, padded(outputs))
    np.testing.assert_array_equal(buffer[1:-1, :outputs], columns[:, :rows].T)
    assert (buffer[[0, -1]] == 7).all()


@fuzzed
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([np.float32, np.float64]))
def test_transpose_transposes(rows, columns, dtype):
    a = np.random.default_rng(0).standard_normal((rows, columns)).astype(dtype)
    out = np.full((columns, rows + 3), 7, dtype)
    transpose(a, rows, columns, out)
    assert (out[:, :rows] == a.T).all()
    assert (out[:, rows:] == 7).all()
