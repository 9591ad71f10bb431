"""Homogeneous networks under losses with an exponential tail: degree, margins and gradients on the sphere."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.problem.problem import Problem


def refusal(problem: Problem) -> str | None:
    """Why the problem has no radial chart, as a sentence that says what to use instead; None where it has."""
    loss, network = problem.loss, problem.network
    if not problem.has_log or loss.kind != "margin":
        return (
            f"the radial chart needs a margin loss with a log-risk (Exponential, Logistic, CrossEntropy); "
            f"{type(loss).__name__} was given: use GradientFlow(problem)"
        )
    degrees = network.degrees
    if degrees is None or any(degree is None for degree in degrees):
        return (
            f"the radial chart needs a network that is homogeneous in every layer; this {type(network).__name__} "
            f"has degrees {degrees}: leave out biases and activations that are not homogeneous, or use "
            "GradientFlow(problem)"
        )
    # Traced decays belong to a problem that was checked when it was made.
    if not isinstance(problem.decay, jax.core.Tracer) and np.any(np.asarray(problem.decay) != 0.0):
        return (
            f"the radial chart needs a potential without decay, under which weights stay bounded; decay = "
            f"{np.asarray(problem.decay)} was given: use GradientFlow(problem)"
        )
    return None


def degree(problem: Problem) -> int:
    """K = Σ_k d_k: f(a W; x) = aᴷ f(W; x) for every a > 0."""
    return int(sum(problem.network.degrees or ()))  # type: ignore[arg-type]  # no None in them: refusal


def pull(
    problem: Problem, directions: Any, growth: Any
) -> tuple[Float[Array, ""], Any, Float[Array, "N C"], Float[Array, "N C"]]:
    """(log L, G, f, c): the log-risk at outputs ``growth``·f(V), and G = Σ_n Σ_c c_{nc} ∇f_c(V; x_n).

    c = −∂ log L/∂f at the outputs ``growth``·f(V), so that −∇log L(e^s V) = e^{(K−1)s} G for growth = e^{Ks}. For
    the exponential loss c_n = y_n p_n with p = softmax(−e^{Ks} m). Entries of c are at most one in size: the only
    large numbers are the exponents e^{Ks} f, which grow like log t.
    """
    outputs, pullback = jax.vjp(problem.outputs, directions)

    def log_risk(scaled: Any) -> Any:
        return problem.loss.log_risk(scaled, problem.data.targets)

    value, slope = jax.value_and_grad(log_risk)(growth * outputs)
    (pulled,) = pullback(-slope)
    return value + float(np.log(problem.factor)), pulled, outputs, -slope


def paired(
    problem: Problem, outputs: Float[Array, "N C"], slope: Float[Array, "N C"]
) -> tuple[Float[Array, " M"], Float[Array, " M"]]:
    """(margins, multipliers) of the smooth constraints behind the margins, with c of :func:`pull` as ``slope``.

    Labels ±1: y_n f_n and y_n c_n, M = N. Classes: f_y − f_c and −c_{nc} for all c, M = N·C, where the entries
    c = y are no constraints and read (∞, 0). In both cases G = Σ multipliers · ∇margins.
    """
    targets = problem.data.targets
    if problem.loss.labels == "sign":
        return targets * outputs[:, 0], targets * slope[:, 0]
    own = jnp.arange(outputs.shape[1]) == targets[:, None]
    gaps = jnp.take_along_axis(outputs, targets[:, None], axis=1) - outputs
    return jnp.where(own, jnp.inf, gaps).reshape(-1), jnp.where(own, 0.0, -slope).reshape(-1)
