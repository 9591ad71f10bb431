"""Parabolic equations that nobody tuned for: the stabilised methods under diffrax beside Tsit5 and SciPy's sparse BDF.

Five-point differences on the periodic unit square; every method gets the same compiled field, rtol = atol, and the
same first step.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from scipy.integrate import solve_ivp

from benchmarks.peers import explicit_evaluations
from gradlab import solvers

TOLERANCES, FIRST = (1e-4, 1e-6), 1e-4
#: Factors by which a step may grow, where that is limited (docs/solvers.md).
GROWTH = {"MRKC3": 1.2, "MRKC5": 1.1}
OURS = ("ROCK4", "MRKC3", "MRKC5")


@dataclass(frozen=True, eq=False)
class Equation:
    """dy/dt = field(t, y), y of one axis, from t = 0 to T; ``jacobian(t, y)`` is sparse. words : what it is."""

    name: str
    words: str
    field: Callable[[Any, Any], Any]
    jacobian: Callable[[float, np.ndarray], Any]
    start: np.ndarray
    T: float


def laplacian(u: Any) -> Any:
    """n² times the five-point difference of an n × n array, periodic."""
    around = sum(jnp.roll(u, shift, axis) for shift in (1, -1) for axis in (0, 1))
    return u.shape[0] ** 2 * (around - 4.0 * u)


def matrix(n: int) -> Any:
    """The same as a sparse matrix."""
    one = sparse.diags([1.0, 1.0, -2.0, 1.0, 1.0], [-n + 1, -1, 0, 1, n - 1], shape=(n, n))
    unit = sparse.identity(n)
    return n**2 * (sparse.kron(one, unit) + sparse.kron(unit, one)).tocsc()


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the points."""
    x = np.arange(n) / n
    return np.meshgrid(x, x, indexing="ij")


def allen_cahn(n: int) -> Equation:
    """u_t = Δu/100 + u − u³ from sines, to t = 5."""
    x, y = grid(n)
    start = 0.4 * np.sin(2 * np.pi * x + 0.5) + 0.3 * np.sin(4 * np.pi * y) * np.cos(2 * np.pi * x) + 0.1

    def field(t: Any, y: Any) -> Any:
        u = y.reshape(n, n)
        return (0.01 * laplacian(u) + u - u**3).ravel()

    stiff = 0.01 * matrix(n)

    def jacobian(t: float, y: np.ndarray) -> Any:
        return (stiff + sparse.diags(1.0 - 3.0 * y**2)).tocsc()

    return Equation("Allen–Cahn", "u_t = Δu/100 + u − u³, T = 5", field, jacobian, start.ravel(), 5.0)


def brusselator(n: int) -> Equation:
    """u_t = 1 + u²v − 4.4 u + Δu/50, v_t = 3.4 u − u²v + Δv/50, to t = 4."""
    x, y = grid(n)
    start = np.stack([22.0 * y * (1 - y) ** 1.5, 27.0 * x * (1 - x) ** 1.5])

    def field(t: Any, y: Any) -> Any:
        u, v = y.reshape(2, n, n)
        made = u**2 * v
        return jnp.stack(
            [1.0 + made - 4.4 * u + 0.02 * laplacian(u), 3.4 * u - made + 0.02 * laplacian(v)]
        ).ravel()

    stiff = 0.02 * matrix(n)

    def jacobian(t: float, y: np.ndarray) -> Any:
        u, v = y.reshape(2, n * n)
        d = sparse.diags
        return sparse.bmat(
            [[stiff + d(2 * u * v - 4.4), d(u**2)], [d(3.4 - 2 * u * v), stiff - d(u**2)]], format="csc"
        )

    words = "u_t = 1 + u²v − 4.4u + Δu/50, v_t = 3.4u − u²v + Δv/50, T = 4"
    return Equation("Brusselator", words, field, jacobian, start.ravel(), 4.0)


def heat(n: int) -> Equation:
    """u_t = Δu/20 + a source that goes round a circle once, to t = 0.1."""
    x, y = grid(n)

    def field(t: Any, y_: Any) -> Any:
        angle = 20.0 * jnp.pi * t
        near = (x - 0.5 - 0.25 * jnp.cos(angle)) ** 2 + (y - 0.5 - 0.25 * jnp.sin(angle)) ** 2
        return (0.05 * laplacian(y_.reshape(n, n)) + 50.0 * jnp.exp(-100.0 * near)).ravel()

    stiff, words = (0.05 * matrix(n)).tocsc(), "u_t = Δu/20 + a source on a circle, T = 0.1"
    return Equation("heat", words, field, lambda t, y: stiff, np.sin(2 * np.pi * x).ravel(), 0.1)


@dataclass(frozen=True)
class Row:
    """One solve. seconds : of the processor, compiled. first : of the first call, with compilation if it is new."""

    equation: str
    unknowns: int
    tolerance: float
    method: str
    error: float
    evaluations: int
    matrices: int
    seconds: float
    first: float


@functools.lru_cache(maxsize=8)
def _compiled(equation: Equation, name: str) -> Callable[[Any, Any], Any]:
    """(start, tolerance) → the solution; one program for all tolerances."""
    limits = {"factormax": GROWTH[name]} if name in GROWTH else {}
    gains = {"pcoeff": 0.1 if name in OURS else 0.2, "icoeff": 0.3}

    @jax.jit
    def run(start: Any, tolerance: Any) -> Any:
        controller: Any = diffrax.PIDController(rtol=tolerance, atol=tolerance, **gains, **limits)
        if name in OURS:
            made = solvers.ROCK4(tolerance) if name == "ROCK4" else getattr(solvers, name)()
            solver, controller = solvers.counted(made, controller)
        else:
            solver = getattr(diffrax, name)()
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: equation.field(t, y)), solver, 0.0, equation.T, FIRST, start,
            stepsize_controller=controller, max_steps=100_000, throw=False,
            saveat=diffrax.SaveAt(t1=True, controller_state=True), adjoint=diffrax.ForwardMode(),
        )  # fmt: skip

    return run


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and seconds of the processor."""
    begun = time.process_time()
    found = jax.block_until_ready(call())
    return found, time.process_time() - begun


def explicit(equation: Equation, name: str, tolerance: float) -> tuple[np.ndarray, int, float, float]:
    """(y(T), evaluations, seconds, seconds of the first call) of a method of gradlab's, or of diffrax's."""
    run = functools.partial(_compiled(equation, name), equation.start, jnp.asarray(tolerance))
    _, first = timed(run)
    solution, seconds = timed(run)
    if name in OURS:
        spent = int(solution.controller_state.evaluations)
    else:
        # One fewer than there: the first step is given here.
        spent = explicit_evaluations(getattr(diffrax, name)(), int(solution.stats["num_steps"])) - 1
    good = bool(solution.result == diffrax.RESULTS.successful)
    return (
        np.asarray(solution.ys[0]) if good else np.full(equation.start.shape, np.nan),
        spent,
        seconds,
        first,
    )


def bdf(equation: Equation, tolerance: float) -> tuple[np.ndarray, int, int, float]:
    """(y(T), evaluations, factorisations, seconds) of SciPy's BDF with the exact sparse Jacobian."""
    field = jax.jit(equation.field)
    field(0.0, equation.start)

    def run() -> Any:
        return solve_ivp(
            lambda t, y: np.asarray(field(t, y)), (0.0, equation.T), equation.start, "BDF", [equation.T],
            rtol=tolerance, atol=tolerance, jac=equation.jacobian, first_step=FIRST,
        )  # fmt: skip

    begun = time.process_time()
    solution = run()
    return solution.y[:, -1], solution.nfev, solution.nlu, time.process_time() - begun


def equations(quick: bool) -> list[Equation]:
    """Two of 10⁴ unknowns and one of 10⁵; small ones for a quick run."""
    if quick:
        return [allen_cahn(24), brusselator(16)]
    return [allen_cahn(100), brusselator(70), heat(316)]


def rows(quick: bool, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every method on every equation at both tolerances."""
    return [asdict(row) for equation in equations(quick) for row in compared(equation, tell)]


def compared(equation: Equation, tell: Callable[[str], None]) -> list[Row]:
    """Every method on one equation."""
    found: list[Row] = []
    tell(f"{equation.name}: reference")
    true = explicit(equation, "Dopri8", 1e-10)[0]
    row = functools.partial(Row, equation.name, equation.start.size)
    for tolerance in TOLERANCES:
        for name in (*OURS, "Tsit5"):
            tell(f"{equation.name}: {name}")
            y, spent, seconds, first = explicit(equation, name, tolerance)
            found.append(row(tolerance, name, error(y, true), spent, 0, seconds, first))
        tell(f"{equation.name}: BDF")
        y, spent, factors, seconds = bdf(equation, tolerance)
        found.append(row(tolerance, "SciPy BDF", error(y, true), spent, factors, seconds, seconds))
    return found


def error(y: np.ndarray, true: np.ndarray) -> float:
    """‖y − y_ref‖/‖y_ref‖."""
    return float(np.linalg.norm(y - true) / np.linalg.norm(true))


HEAD = (
    "equation",
    "unknowns",
    "tolerance",
    "method",
    "error",
    "evaluations",
    "factorisations",
    "CPU s",
    "first call, CPU s",
)


def table(found: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Head and cells."""
    body = [
        [
            one["equation"], f"{one['unknowns']:,}".replace(",", " "), f"{one['tolerance']:.0e}", one["method"],
            f"{one['error']:.1e}", str(one["evaluations"]), str(one["matrices"] or "–"), f"{one['seconds']:.2g}",
            f"{one['first']:.2g}",
        ]
        for one in found
    ]  # fmt: skip
    return HEAD, body


def markdown(found: list[dict[str, Any]], quick: bool) -> str:
    """The page."""
    from benchmarks.table import markdown as drawn

    names = {row["equation"] for row in found}
    words = "\n".join(f"- {one.name}: {one.words}" for one in equations(quick) if one.name in names)
    return (
        "# Parabolic equations\n\n"
        "Five-point differences on the periodic unit square; rtol = atol = the tolerance; the same compiled field and "
        "first step (1e-4) for all. Evaluations: those of rejected steps included, a Hessian-vector product counts "
        "two. Errors: relative, in the 2-norm at T, against Dopri8 at 1e-10. Seconds are of the processor.\n"
        "`python -m benchmarks --part pde --budget full --docs docs/benchmarks` writes this page.\n\n"
        f"{words}\n\n{drawn(*table(found))}\n"
    )
