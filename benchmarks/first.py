"""What the first answer to a new small problem costs: gradlab with its error bars, SciPy, diffrax, in CPU seconds.

Each solver meets each problem in a process of its own, imports and a first addition made, and no compilation cache. The
peers are given the compiled gradient of gradlab's problem; what their compilation costs is paid once and their
tolerance is the loosest of decades at which they are as accurate as gradlab was.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

#: The end of each flow, and the one at which those under the square loss are stiff.
T, STIFF = 30.0, 1000.0
#: (number of the problem, end) by budget, gradlab's tolerance, and the peers'.
WORK = {
    "quick": [(number, T) for number in range(0, 24, 4)],
    "full": [(number, T) for number in range(20)]
    + [(number, STIFF) for number in (0, 1, 2, 9, 10, 11, 18, 19)],
}
TOLERANCE, DECADES = 1e-9, tuple(10.0**-k for k in range(5, 13))
ACTIVATIONS = ("tanh", "identity", "smooth_relu")
LOSSES = ("square", "logistic", "exponential")
WHO = ("gradlab", "scipy", "diffrax")


def make(number: int, seed: int = 1) -> tuple[Any, Any, str]:
    """(problem, start, in words) number so and so: d-h-1, 20 to 60 weights, 10 to 20 examples, drawn by NumPy."""
    import numpy as np

    import gradlab as gl

    rng = np.random.default_rng([seed, number])
    d, h, n = (int(rng.integers(*bounds)) for bounds in ((3, 7), (5, 10), (10, 21)))
    activation, loss = ACTIVATIONS[number % 3], LOSSES[number // 3 % 3]
    inputs = rng.standard_normal((n, d))
    signs = np.sign(inputs @ rng.standard_normal(d))
    targets = rng.standard_normal((n, 1)) if loss == "square" else signs
    losses = {
        "square": gl.Square("mean", half=True),
        "logistic": gl.Logistic("mean"),
        "exponential": gl.Exponential("mean"),
    }
    problem = gl.Problem(gl.Dense((d, h, 1), activation), losses[loss], gl.Data(inputs, targets))
    start = (rng.standard_normal((h, d)) * 0.5, rng.standard_normal((1, h)) * 0.5)
    return problem, start, f"{activation} {d}-{h}-1, {loss}, {n} examples"


def _clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def _gradlab(number: int, end: float) -> dict[str, Any]:
    import gradlab as gl

    def solve() -> Any:
        problem, start, _ = make(number)
        flow = gl.GradientFlow(problem)
        return gl.run(flow, start, [end], solver=gl.solvers.Auto(TOLERANCE), observables=["loss"])

    first, seen = _clocked(solve)
    warm = min(_clocked(solve)[0] for _ in range(5))
    used = json.loads(seen.attrs["provenance"])["solver_used"]
    bar = float(abs(seen["final_weights_error"].values).max())
    # The second solve alone, as ``run`` makes it.
    coarse = gl.solvers.Auto(TOLERANCE).coarser()
    problem, start, _ = make(number)
    again = gl.run(gl.GradientFlow(problem), start, [end], solver=coarse, observables=["loss"], refine=False)
    named = (seen["evaluations"], seen["rounding_evaluations"], again["evaluations"])
    found = {"used": used, "bar": bar, "evaluations": sum(int(count.values[-1]) for count in named)}
    return {"first": first, "warm": warm, "weights": seen["final_weights"].values.tolist(), **found}


def _peer(compiling: float, solves: list[tuple[str, float, float, Any]]) -> dict[str, Any]:
    """compiling : CPU seconds; solves : (method, tolerance, CPU seconds, weights)."""
    rows = [
        {
            "method": method,
            "tolerance": tolerance,
            "warm": took,
            "first": compiling + took,
            "weights": list(map(float, weights)),
        }
        for method, tolerance, took, weights in solves
    ]
    return {"solves": rows}


def _scipy(number: int, end: float) -> dict[str, Any]:
    import jax
    import numpy as np
    from scipy.integrate import solve_ivp

    jax.config.update("jax_enable_x64", True)
    problem, start, _ = make(number)
    flat = np.concatenate([np.ravel(leaf) for leaf in start])

    def build() -> tuple[Any, Any]:
        field = jax.jit(lambda v: -problem.ravel(problem.gradient(problem.unravel(v))))
        field(flat).block_until_ready()
        return field, None

    compiling, (field, _) = _clocked(build)

    def solve(method: str, tolerance: float, **options: Any) -> Any:
        def right(t: float, v: Any) -> Any:
            return np.asarray(field(v))

        return solve_ivp(
            right, (0.0, end), flat, method=method, rtol=tolerance, atol=1e-3 * tolerance, **options
        ).y[:, -1]

    made = [("DOP853", tolerance, *_clocked(lambda t=tolerance: solve("DOP853", t))) for tolerance in DECADES]
    found = _peer(compiling, made)

    def build_jacobian() -> Any:
        jacobian = jax.jit(jax.jacfwd(field))
        jacobian(flat).block_until_ready()
        return jacobian

    more, jacobian = _clocked(build_jacobian)
    options = {"jac": lambda t, v: np.asarray(jacobian(v))}
    stiff = [
        ("BDF", tolerance, *_clocked(lambda t=tolerance: solve("BDF", t, **options))) for tolerance in DECADES
    ]
    found["solves"] += _peer(compiling + more, stiff)["solves"]
    return found | {"truth": solve("DOP853", 3e-14).tolist()}


def _diffrax(number: int, until: float) -> dict[str, Any]:
    import diffrax
    import jax
    import jax.numpy as jnp
    import numpy as np

    from gradlab.dynamics.solvers.methods import evaluations

    jax.config.update("jax_enable_x64", True)
    problem, start, _ = make(number)
    term = diffrax.ODETerm(lambda t, y, args: jax.tree.map(jnp.negative, problem.gradient(y)))

    @jax.jit
    def solve(y: Any, tolerance: Any) -> Any:
        control = diffrax.PIDController(rtol=tolerance, atol=1e-3 * tolerance)
        options = {
            "stepsize_controller": control,
            "max_steps": 100_000,
            "adjoint": diffrax.ForwardMode(),
            "throw": False,
        }
        solution = diffrax.diffeqsolve(term, diffrax.Dopri8(), 0.0, until, None, y, **options)
        return solution.ys, solution.stats["num_steps"]

    def end(tolerance: float) -> Any:
        last, _ = jax.block_until_ready(solve(start, tolerance))
        return np.concatenate([np.ravel(leaf[-1]) for leaf in last])

    first, _ = _clocked(lambda: end(DECADES[0]))
    rows = [(tolerance, *_clocked(lambda t=tolerance: end(t))) for tolerance in DECADES]
    found = _peer(first - rows[0][1], [("Dopri8", *row) for row in rows])
    stages = evaluations("dopri8")
    for row in found["solves"]:
        row["evaluations"] = stages * int(solve(start, row["tolerance"])[1])
    return found


def _alone(number: int, end: float, who: str) -> dict[str, Any]:
    """One solver on one problem in a process of its own."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")
    }
    command = [sys.executable, "-m", "benchmarks.first", str(number), str(end), who]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def rows(
    work: Iterable[tuple[int, float]], tell: Callable[[str], None] = lambda what: None
) -> list[dict[str, Any]]:
    """A row a problem: CPU seconds of the first answer and of a warm one, and the errors."""
    import numpy as np

    made = []
    for number, end in work:
        found = {}
        for who in WHO:
            tell(f"first answer {number}, T = {end:g}: {who}")
            found[who] = _alone(number, end, who)
        truth = np.array(found["scipy"]["truth"])

        def error(row: dict[str, Any], truth: Any = truth) -> float:
            return float(np.linalg.norm(np.array(row["weights"]) - truth) / np.linalg.norm(truth))

        ours = error(found["gradlab"])
        row = {"problem": make(number)[2], "T": end, "used": found["gradlab"]["used"], "error": ours}
        row |= {"gradlab": found["gradlab"]["first"], "gradlab warm": found["gradlab"]["warm"]}
        for who in ("scipy", "diffrax"):
            good = [one for one in found[who]["solves"] if error(one) <= max(ours, 1e-12)]
            best = min(good or found[who]["solves"][-1:], key=lambda one: one["first"])
            row |= {who: best["first"], f"{who} warm": best["warm"], f"{who} method": best["method"]}
            if "evaluations" in best:
                row["work"] = found["gradlab"]["evaluations"] / best["evaluations"]
        made.append(row)
    return made


def table(made: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Head and body; the last row is the geometric mean of the ratios."""
    import numpy as np

    head = (
        "problem",
        "error",
        "gradlab, s",
        "SciPy, s",
        "diffrax, s",
        "to SciPy",
        "to diffrax",
        "warm, ms",
        "warm to diffrax",
        "evaluations to diffrax",
        "warm to diffrax, an evaluation",
    )
    body, ratios = [], []
    for row in made:
        ratio = [
            row["gradlab"] / row["scipy"],
            row["gradlab"] / row["diffrax"],
            row["gradlab warm"] / row["diffrax warm"],
            row["work"],
            row["gradlab warm"] / row["diffrax warm"] / row["work"],
        ]
        ratios.append(ratio)
        warm = f"{1e3 * row['gradlab warm']:.1f}"
        times = [f"{row[who]:.2f}" for who in ("gradlab", "scipy", "diffrax")]
        used = re.sub(r" \([^)]*\)", "", row["used"]).split(";")[-1].split()[-1]
        name, error = f"{row['problem']} ({used}; {row['scipy method']})", f"{row['error']:.0e}"
        firsts, warms = (
            [f"{one:.{digits}f}" for one in part] for part, digits in ((ratio[:2], 2), (ratio[2:], 1))
        )
        body.append([name, error, *times, *firsts, warm, *warms])
    means = np.exp(np.mean(np.log(ratios), axis=0)) if ratios else np.ones(5)
    firsts, warms = [f"{mean:.2f}" for mean in means[:2]], [f"{mean:.1f}" for mean in means[2:]]
    body.append(["geometric mean", "", "", "", "", *firsts, "", *warms])
    return head, body


def page(made: list[dict[str, Any]], markdown: Callable[[Any, Any], str]) -> str:
    """The page for the docs."""
    says = f"""# The first answer

CPU seconds from a new small problem to its answer, imports and their garbage apart, each solver in a
process of its own without a compilation cache (`python -m benchmarks --part first
--docs docs/benchmarks`; twenty problems, and eight to a later end, with `--budget full`). gradlab:
`run(..., solver=Auto({TOLERANCE:g}), observables=["loss"])`, two solves and the error bar included. SciPy: one solve
by DOP853, or by BDF with the compiled Hessian, whichever is cheaper, with the compiled gradient; diffrax: one solve
by Dopri8; both at the cheapest tolerance at which they are as accurate. *Warm*: the same call again in the same
process; *evaluations*: of gradlab those of both solves and of the tangent that follows rounding, rejected steps
and looks at the stiffness included, of diffrax those of its one solve.

"""
    parts = {f"T = {end:g}": [row for row in made if row["T"] == end] for end in (T, STIFF)}
    if parts[f"T = {STIFF:g}"]:
        parts[f"T = {STIFF:g}, where they are stiff"] = parts.pop(f"T = {STIFF:g}")
    tables = (
        f"## {name}: {len(some)} problems\n\n{markdown(*table(some))}" for name, some in parts.items() if some
    )
    return says + "\n\n".join(tables)


if __name__ == "__main__":
    import jax

    import gradlab

    # Imports that wait for a first use, and the start of the backend, are nobody's.
    gradlab.run, gradlab.solvers.Auto  # noqa: B018
    import diffrax  # noqa: F401
    import scipy.integrate  # noqa: F401
    import xarray  # noqa: F401

    jax.block_until_ready(jax.numpy.zeros(3) + 1)
    # Nor is a collection of what importing left behind: 0.2 s, which would meet one of the three by chance.
    gc.collect()
    print(
        json.dumps(
            {"gradlab": _gradlab, "scipy": _scipy, "diffrax": _diffrax}[sys.argv[3]](
                int(sys.argv[1]), float(sys.argv[2])
            )
        )
    )
