"""A claim of one's own: on whitened inputs, gradient flow forgets its start equally fast in every direction.

    gradlab verify examples/my_claim.py

L(W) = (1/N) Σ ‖W x_n − y_n‖² with XᵀX/N = 1 has ∇L = 2 (W − W*), W* = YᵀX/N. So W(t) − W* = e^{−2t}(W(0) − W*),
and the excess risk L(W) − L(W*) = ‖W − W*‖² falls by the factor e^{−4t}, whatever the start.

A file like this has five pieces: CLAIM, the statement; MEASURES, the numbers that decide, with tolerances fixed before
anything runs; cases, the problems and their flows; observe, which turns one flow into those numbers; draw, the figure.
STUDY ties them together. The judge is not in this file: it sees the numbers, their errors and the tolerances only.
"""

import jax
import numpy as np
import xarray as xr

import gradlab
from gradlab import figures

END = 3.0

# What is claimed, and under which conventions: it is printed at the head of the report.
CLAIM = gradlab.claims.Claim(
    id="mine.whitened",
    source="mine",
    statement="On whitened inputs, gradient flow of the mean square loss of a linear net lowers the excess risk by "
    "the factor $e^{-4t}$, whatever the start.",
    formula=r"\frac{L(W(t))-L(W^*)}{L(W(0))-L(W^*)}=e^{-4t}",
    passage="the docstring of examples/my_claim.py",
    hypotheses=("linear net of one layer", "whitened inputs", "no weight decay"),
    convention="L is the mean over examples of the squared residual, without the factor ½.",
)

# A hypothesis says whether a case counts at all, a part whether the claim holds for it. The worst case decides, and a
# number whose error bar straddles its tolerance is inconclusive.
MEASURES = (
    gradlab.claims.Measure(
        "whitened",
        "largest entry of |XᵀX/N − 1|",
        "<=",
        1e-12,
        "the inputs are orthonormalised in float64",
        role="hypothesis",
    ),
    gradlab.claims.Measure(
        "rate",
        "largest |log(excess(t)/excess(0)) + 4t| over the records",
        "<=",
        1e-6,
        "the solver's tolerance is 1e-10 a step relative to ‖W‖, and W − W* shrinks to e^{−6} of its size",
    ),
)


def cases(budget, key):
    """Twenty random problems (sixty at the full budget) with two outputs, starts of three sizes: one solve."""
    count = 20 if budget == "quick" else 60
    network, loss = gradlab.Dense((4, 2), "identity"), gradlab.Square("mean")
    data = [gradlab.data.whitened_regression(one, N=12, d=4, C=2, noise=0.3) for one in jax.random.split(key, count)]
    problem = gradlab.stack([gradlab.Problem(network, loss, one) for one in data])
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    start = np.stack([10.0 ** (i % 3 - 1) * generator.standard_normal((2, 4)) for i in range(count)])
    # One ensemble: every problem has the same shapes, so that one program is compiled for all. Each number of the
    # trajectory comes with its error, the difference to a second solve at ten times the tolerance.
    trajectory = gradlab.run(
        gradlab.GradientFlow(problem),
        (start,),
        np.linspace(0.0, END, 31),
        solver=gradlab.Adaptive("dopri8", 1e-10),
        observables=["loss"],
        keep="all",
        members=count,
        name=CLAIM.id,
    )
    for i in range(count):
        yield gradlab.claims.Case(f"problem {i}", gradlab.unstack(problem, i), trajectory.isel(member=i))


def observe(problem, trajectory):
    """The excess risk against its closed form, at every record."""
    X, Y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    solution = (Y.T @ X / len(X)).reshape(-1)
    size = np.linalg.norm(trajectory["weights"].values - solution, axis=1)
    # log ‖W − W*‖²/‖W(0) − W*‖² is to be −4t; to first order its error is twice that of W relative to ‖W − W*‖.
    misses = 2.0 * np.log(size / size[0]) + 4.0 * trajectory["t"].values
    rounding = 4e-16 * np.linalg.norm(solution)
    bars = 2.0 * (np.linalg.norm(trajectory["weights_error"].values, axis=1) + rounding) / size
    worst = int(np.argmax(np.abs(misses)))
    # A measure is a scalar by its name, its error is <name>_error; what has a dim is kept for the figure.
    return xr.Dataset(
        {
            "whitened": np.max(np.abs(X.T @ X / len(X) - np.eye(X.shape[1]))),
            "rate": abs(misses[worst]),
            "rate_error": np.max(bars),
            "excess": ("time", (size / size[0]) ** 2),
        },
        coords={"time": trajectory["t"].values},
    )


def draw(dataset):
    """Every problem on the one line."""
    time, excess = dataset["time"].values, dataset["excess"].values
    lines = {f"problem {i}": excess[i] for i in range(3)} | {"$e^{-4t}$": np.exp(-4.0 * time)}
    figure = figures.curves(time, lines, "time $t$", "excess risk over that at the start", log="y")
    return figures.with_caption(
        figure, "The excess risk of three of the problems, and the line of the claim."
    )


STUDY = gradlab.claims.Study(CLAIM, MEASURES, cases, observe, draw, settings="dopri8 at 1e-10 until t = 3")
