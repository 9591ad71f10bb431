"""Block Lanczos against spectra known exactly: no wrong eigenvalue, every bound honoured."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
from scipy.linalg import subspace_angles

from gradlab.observe.spectrum import Matrix, spectrum
from gradlab.observe.spectrum import lanczos as room
from gradlab.observe.spectrum.basis import Basis
from gradlab.observe.spectrum.lanczos import extreme
from gradlab.observe.spectrum.near import Filtered

EPS = np.finfo(np.float64).eps


def turned(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A dense matrix with these eigenvalues, and them: Q D Qᵀ, right to P eps times its norm."""
    generator = np.random.default_rng(seed)
    q = np.linalg.qr(generator.standard_normal((len(values), len(values))))[0]
    matrix = (q * values) @ q.T
    return 0.5 * (matrix + matrix.T), np.sort(values)


def straight(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A diagonal matrix with these eigenvalues."""
    return np.diag(values), np.sort(values)


def _bulk(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1.0, 1.0, count)


KNOWN = {
    "the zero operator": straight(np.zeros(120)),
    "one weight": straight(np.zeros(1)),
    "the identity": straight(np.ones(90)),
    "-3 times the identity": straight(np.full(91, -3.0)),
    "diag(0, …, 0, 1, …, 20)": straight(np.r_[np.zeros(180), np.arange(1.0, 21.0)]),
    "the same, turned": turned(np.r_[np.zeros(180), np.arange(1.0, 21.0)]),
    "twelvefold ends": turned(np.r_[np.repeat([-5.0, -4.0, 3.0, 7.0], 12), _bulk(150)]),
    "clusters": turned(np.r_[5.0 + 1e-9 * np.arange(15), -2.0 - 1e-7 * np.arange(13), _bulk(170)]),
    "rank one": turned(np.r_[np.zeros(99), 1e8]),
    "normal": turned(np.random.default_rng(4).standard_normal(250)),
    "1e-200 times normal": turned(1e-200 * np.random.default_rng(5).standard_normal(50)),
    "1e150 times normal": turned(1e150 * np.random.default_rng(6).standard_normal(50)),
    "geometric": turned(2.0 ** -np.arange(100.0)),
    "one far out": turned(np.r_[1e6, 1e-3 * _bulk(200)]),
}
ENDS = ((5, 5), (10, 0), (0, 10), (1, 1))


def wanted(true: np.ndarray, low: int, high: int) -> np.ndarray:
    """The eigenvalues at the ends."""
    return true if low + high >= len(true) else np.r_[true[:low], true[len(true) - high :]]


@pytest.mark.parametrize("name", KNOWN)
def test_no_eigenvalue_is_wrong_and_every_bound_holds(name: str) -> None:
    matrix, true = KNOWN[name]
    norm = np.max(np.abs(true))
    for low, high in ENDS:
        for limit in (None, 1):
            # 1 is raised to the fewest rows that a restart can work with; it may give up.
            found = extreme(Matrix(matrix), low, high, tolerance=1e-8, limit=limit, seed=low, most=600)
            expected = wanted(true, low, high)
            inexact = len(true) * EPS * norm  # of the matrix itself
            bound = found.residuals + found.rounding + inexact
            distance = np.min(np.abs(found.values[:, None] - true), axis=1)
            assert np.all(distance <= bound), (low, high, limit)
            if found.converged:
                # Kahan: the k values are matched to k eigenvalues within the norm of all residuals; and the search
                # excludes eigenvalues beyond them by more than the tolerance.
                matched = np.linalg.norm(found.residuals) + 1e-8 * norm + found.rounding + inexact
                assert np.all(np.abs(found.values - expected) <= matched), (low, high, limit)
            assert found.converged or limit == 1, (low, high, found.why)


def test_as_many_eigenvalues_as_weights_are_all_of_them() -> None:
    matrix, true = turned(_bulk(30))
    found = extreme(Matrix(matrix), 15, 15)
    assert found.converged
    np.testing.assert_allclose(found.values, true, atol=1e-13)


def test_vectors_span_the_eigenspace() -> None:
    values = np.r_[np.full(3, 2.0), _bulk(80)]
    matrix, _ = turned(values)
    exact = np.linalg.eigh(matrix)[1][:, -3:]
    found = extreme(Matrix(matrix), 0, 3, tolerance=1e-9)
    # sin of the angle ≤ residual/gap, gap = 1
    assert np.max(subspace_angles(found.vectors.T, exact)) <= 1e-8
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(3), atol=1e-13)


def test_more_copies_than_the_block_is_wide_are_found_by_the_search_alone() -> None:
    """A Krylov space of one vector holds one copy; without the search the largest would be wrong."""
    matrix, true = turned(np.r_[np.repeat([3.0, 5.0], 6), np.linspace(-1.0, 1.0, 200)])
    found = extreme(Matrix(matrix), 0, 5, block=1, tolerance=1e-6)
    assert found.converged
    np.testing.assert_allclose(found.values, true[-5:], atol=1e-5)


def test_without_the_search_copies_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_search", lambda *_: room._Found(True, 0.0, "not searched"))
    matrix, true = turned(np.r_[np.repeat([3.0, 5.0], 6), np.linspace(-1.0, 1.0, 200)])
    found = extreme(Matrix(matrix), 0, 2, block=1, tolerance=1e-6)
    assert np.max(np.abs(found.values - true[-2:])) > 1.0


def test_the_basis_keeps_its_relation_through_steps_breakdown_and_restart() -> None:
    """Q Qᵀ = 1 and A Q = T Q + (rows ahead)ᵀ E, to the level from which inner products are subtracted."""
    # Few distinct eigenvalues, one of them far out: breakdown after six blocks, and fast loss of orthogonality.
    matrix, _ = turned(np.r_[1e4, np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 30)])
    for block, before, distinct in ((4, 10, matrix), (1, 50, turned(np.r_[1e2, _bulk(150)])[0])):
        basis = Basis(Matrix(distinct), block, 80, np.random.default_rng(0))

        def check(basis: Basis = basis, matrix: np.ndarray = distinct) -> None:
            rows = basis.rows[: basis.filled + basis.ahead]
            assert np.max(np.abs(rows @ rows.T - np.eye(len(rows)))) <= 1e-10
            inside = basis.rows[: basis.filled]
            rest = matrix @ inside.T - rows.T @ np.r_[basis.T[: basis.filled, : basis.filled], basis.coupling]
            assert np.max(np.abs(rest)) <= 1e-10 * np.linalg.norm(matrix, 2)

        for _ in range(before):
            basis.step()
        check()
        values, vectors, _ = basis.ritz()
        basis.restart(values[-12:], vectors[:, -12:])
        check()
        for _ in range(6):
            basis.step()
        check()


def test_giving_up_is_a_value() -> None:
    matrix, true = turned(np.linspace(0.0, 1.0, 400))
    found = extreme(Matrix(matrix), 10, 10, most=60)
    assert not found.converged
    assert "not converged" in found.why
    assert found.products <= 60 + 8
    distance = np.min(np.abs(found.values[:, None] - true), axis=1)
    assert np.all(distance <= found.residuals + found.rounding + 400 * EPS)


def test_products_that_are_not_finite_are_a_value() -> None:
    found = extreme(Matrix(lambda block: np.full(block.shape, np.nan), size=50), 2, 2)
    assert not found.converged
    assert np.isnan(found.values).all()


def test_the_chance_of_the_search_is_that_of_kuczynski_and_wozniakowski() -> None:
    """Steps for which the bound excludes anything beyond g: 1.648 √n exp(−√ε (2s − 1)) at ε = g/(w + 2g), twice."""
    steps, size, width = 40, 10_000, 3.0
    g = room._needed(steps, size, width)
    epsilon = g / (width + 2.0 * g)
    chance = 2.0 * 1.648 * np.sqrt(size) * np.exp(-np.sqrt(epsilon) * (2 * steps - 1))
    assert chance == pytest.approx(room.CHANCE, rel=1e-10)


def test_eigsh_takes_one_for_the_smallest_of_diag_0_to_20() -> None:
    """Why this room exists: SciPy's Lanczos breaks down on an exact null space and says nothing."""
    matrix, true = KNOWN["diag(0, …, 0, 1, …, 20)"]
    ours = spectrum(Matrix(matrix), count=3, which="smallest", method="lanczos")
    np.testing.assert_allclose(ours.values, true[:3], atol=1e-12)
    start = np.random.default_rng(0).standard_normal(len(true))
    theirs = scipy.sparse.linalg.eigsh(matrix, 3, which="SA", v0=start, return_eigenvectors=False)
    assert np.max(np.abs(np.sort(theirs) - true[:3])) > 0.5


# Near a shift ------------------------------------------------------------------------------------------------


def test_eigenvalues_near_a_shift_are_the_nearest_with_bounds() -> None:
    matrix, true = turned(np.random.default_rng(7).standard_normal(300))
    for shift in (0.3, -1.1):
        found = spectrum(Matrix(matrix), count=4, which="near", shift=shift, method="lanczos", tolerance=1e-8)
        assert found.converged, found.why
        expected = np.sort(true[np.argsort(np.abs(true - shift))[:4]])
        assert np.all(np.abs(found.values - expected) <= np.linalg.norm(found.bounds) + 300 * EPS * 4.0)


def test_a_null_space_larger_than_the_count_gives_zeros() -> None:
    matrix, _ = KNOWN["the same, turned"]
    found = spectrum(Matrix(matrix), count=5, which="near", shift=0.0, method="lanczos")
    assert found.converged, found.why
    assert np.all(np.abs(found.values) <= found.bounds)


def test_the_filter_is_one_at_the_shift_and_less_elsewhere() -> None:
    points = np.linspace(-0.999, 0.999, 1999)
    filtered = Filtered(Matrix(np.diag(points)), 0.25, -1.0, 1.0, 64)
    values = filtered.apply(np.ones((1, len(points))))[0]
    assert values[np.argmin(np.abs(points - 0.25))] == pytest.approx(1.0, abs=1e-6)
    assert np.all(values >= -1e-12)
    far = np.abs(points - 0.25) > 4.0 * np.pi / 64
    assert np.max(values[far]) < 0.01
