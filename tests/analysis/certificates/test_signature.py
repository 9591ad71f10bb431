"""Signs and enclosures of eigenvalues are those of the matrix, and undecided where they must be."""

from __future__ import annotations

import numpy as np

from gradlab.analysis.certificates.balls import arithmetic, ball, from_rows, matrix
from gradlab.analysis.certificates.signature import enclosed_eigenvalues, signs


def whole_numbers(size: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-9, 10, (size, size)).astype(float)
    return drawn + drawn.T


def tridiagonal(size: int) -> tuple[np.ndarray, np.ndarray]:
    """2 on the diagonal and −1 beside it, and its eigenvalues 2 − 2 cos(kπ/(n + 1))."""
    values = 2 - 2 * np.cos(np.arange(1, size + 1) * np.pi / (size + 1))
    return 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1), values


def test_the_signs_are_those_of_a_shifted_laplacian() -> None:
    laplacian, values = tridiagonal(9)
    with arithmetic(128):
        for shift in (0.0, 0.05, 1.0, 2.1, 4.0):
            found = signs(matrix(laplacian - shift * np.eye(9)))
            expected = (int(np.sum(values < shift)), int(np.sum(values > shift)), 0)
            assert tuple(found) == expected


def test_a_zero_eigenvalue_is_never_decided() -> None:
    with arithmetic(128):
        for seed in range(5):
            factor = whole_numbers(6, seed)[:, :3]
            singular = factor @ np.diag([1.0, -1.0, 2.0]) @ factor.T  # whole numbers: exactly of rank 3
            assert signs(matrix(singular)).undecided > 0


def test_every_eigenvalue_is_enclosed_and_tightly() -> None:
    laplacian, values = tridiagonal(12)
    with arithmetic(128):
        found = enclosed_eigenvalues(matrix(laplacian))
    # numpy's cosines are right to 4 eps
    slack = 4 * np.finfo(float).eps
    assert np.all(found.lower - slack <= values)
    assert np.all(values <= found.upper + slack)
    # the spread is the rounding of float64 eigenvectors, n eps ‖H‖ a row
    assert np.all(found.upper - found.lower < 1e-13)


def test_a_ball_matrix_has_the_eigenvalues_of_all_matrices_in_it() -> None:
    middle, generator = whole_numbers(5, 1), np.random.default_rng(2)
    with arithmetic(128):
        wide = from_rows([[ball(entry, 0.25) for entry in row] for row in middle])
        found = enclosed_eigenvalues(wide)
    for _ in range(20):
        change = 0.25 * np.sign(generator.standard_normal((5, 5)))
        values = np.linalg.eigvalsh(middle + np.triu(change) + np.triu(change, 1).T)
        assert np.all((found.lower <= values) & (values <= found.upper))
