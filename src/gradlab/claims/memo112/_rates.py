"""dρ_k²/dt layer by layer, by automatic differentiation, and what ρ_k² − ρ_j² does along a trajectory."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from gradlab import figures
from gradlab.claims import polar
from gradlab.claims.polar import relative
from gradlab.observe.layers import layer_inner, layer_norms, layer_of
from gradlab.problem.problem import Problem


def _at_one(problem: Problem, vector: Any) -> dict[str, Any]:
    """f, ∂L/∂f, ⟨W_k, ∂f/∂W_k⟩, ∇L without and with decay λ_k = k/K, and f(|W|, |x|)."""
    network, x, weights = problem.network, problem.data.inputs, problem.unravel(vector)
    layer = layer_of(network)
    depth = int(layer.max()) + 1
    masks = jnp.asarray(layer == np.arange(depth)[:, None], dtype=jnp.float64)

    # One program for f with its K derivatives and for f(|W|, |x|): compiling is what costs.
    def along(vector: Any, x: Any, tangent: Any) -> Any:
        return jax.jvp(lambda v: network(problem.unravel(v), x), (vector,), (tangent,))

    points = jnp.concatenate([jnp.broadcast_to(vector, masks.shape), jnp.abs(vector)[None]])
    inputs = jnp.concatenate([jnp.broadcast_to(x, (depth, *x.shape)), jnp.abs(x)[None]])
    outputs, derivatives = jax.vmap(along)(points, inputs, points * jnp.concatenate([masks, masks[:1]]))

    def descent(decay: Any) -> Any:
        return problem.ravel(eqx.tree_at(lambda p: p.decay, problem, decay).gradient(weights))

    plain, decayed = jax.vmap(descent)(jnp.stack([jnp.zeros(depth), jnp.arange(1.0, depth + 1) / depth]))
    return {
        "f": outputs[0],
        "slope": jax.grad(lambda f: problem.loss.risk(f, problem.data.targets))(outputs[0]),
        "euler": derivatives[:-1],
        "gradient": plain,
        "decayed": decayed,
        "size": outputs[-1],
    }


_at_all = eqx.filter_jit(eqx.filter_vmap(_at_one, in_axes=(None, 0)))


class Rates:
    """Every record of a trajectory: ρ_k, dρ_k²/dt = −2⟨W_k, ∂L/∂W_k⟩ (records, K), and their sizes.

    Attributes
    ----------
    sizes : 2 Σ_n |∂L/∂f_n · f_n|, the sizes of the terms of a rate of degree one; (records, 1).
    rounding : of a rate, relative to ``sizes``.
    degrees : ⟨e_k, f⟩/⟨f, f⟩ over all records, e_k = ⟨W_k, ∂f/∂W_k⟩; one where f vanishes.
    """

    def __init__(self, problem: Problem, trajectory: xr.Dataset) -> None:
        self.problem, self.trajectory = problem, trajectory
        self.layer = layer_of(problem.network)
        self.vectors, self.errors = polar.kept(trajectory)
        self.rho = layer_norms(self.layer, self.vectors)
        seen = {name: np.asarray(value) for name, value in _at_all(problem, self.vectors).items()}
        self.rates = -2.0 * layer_inner(self.layer, self.vectors, seen["gradient"])
        self.decayed = -2.0 * layer_inner(self.layer, self.vectors, seen["decayed"])
        self.sizes = 2.0 * np.sum(np.abs(np.sum(seen["slope"] * seen["f"], axis=-1)), axis=-1)[:, None]
        lost = np.sum(np.abs(seen["slope"]) * np.abs(seen["size"]), axis=(-2, -1))[:, None]
        operations = polar.operations(problem.network)
        self.f, self.euler = seen["f"], seen["euler"]
        square = float(np.sum(self.f**2))
        fitted = np.einsum("rknc,rnc->k", self.euler, self.f)
        self.degrees = fitted / square if square > 0.0 else np.ones(fitted.size)
        # A net that is dead on all inputs has no rate, and no rounding either.
        lost = np.where(self.sizes > 0.0, operations * polar.EPS * 2.0 * np.max(self.degrees) * lost, 0.0)
        self.rounding = relative(lost, self.sizes)

    def defect(self, degrees: Float[np.ndarray, " K"]) -> float:
        """max |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to max |f| of the record."""
        gaps = np.abs(self.euler - degrees[:, None, None] * self.f[:, None])
        return relative(np.max(gaps, axis=(1, 2, 3)), np.max(np.abs(self.f), axis=(1, 2)))

    def numbers(self, degrees: Float[np.ndarray, " K"]) -> dict[str, Any]:
        """``rate``, ``drift`` and ``decayed``, every ρ_k² divided by the degree of its layer."""
        weighted = self.rates / degrees
        terms = 2.0 * self.rho**2 * (np.arange(degrees.size) + 1) / degrees.size / degrees
        control = np.ptp(self.decayed / degrees, axis=1) / np.max(terms, axis=1)
        return {
            "decay": float(np.max(np.asarray(self.problem.decay))),
            "rate": relative(np.ptp(weighted, axis=1)[:, None], self.sizes),
            "rate_error": 2.0 * self.rounding,
            "rate_tolerance": float(np.clip(100.0 * self.rounding, 1e-8, 1e-3)),
            **polar.asked("decayed", float(np.max(control)) if degrees.size > 1 else None, 0.05),
            **self._drift(degrees),
        }

    def flows(self) -> bool:
        """Whether the records are those of a gradient flow."""
        return polar.follows_gradient(self.trajectory)

    def unlike(self) -> float:
        """(max_k − min_k)/max_k of |dρ_k²/dt|, at the record where its terms cancel least."""
        sizes = np.abs(self.rates)
        largest = np.max(sizes, axis=1)
        most = int(np.argmax(largest / np.where(self.sizes[:, 0] > 0.0, self.sizes[:, 0], np.inf)))
        return relative(np.ptp(sizes[most]), largest[most])

    def moved_unlike(self) -> tuple[float, float]:
        """(max_k − min_k)/max_k of |ρ_k²(t) − ρ_k²(0)| where that is largest, and its error."""
        moved = np.abs(self.rho**2 - self.rho[0] ** 2)
        most = int(np.argmax(np.max(moved, axis=1)))
        lost = 2.0 * self.rho[most] * layer_norms(self.layer, self.errors[most])
        largest = float(np.max(moved[most]))
        return relative(np.ptp(moved[most]), largest), 2.0 * relative(np.max(lost), largest)

    def _drift(self, degrees: Float[np.ndarray, " K"]) -> dict[str, float]:
        """How far ρ_{k+1}²/d_{k+1} − ρ_k²/d_k moves; nothing is asked of records that are no flow's."""
        if not self.flows() or degrees.size < 2:
            return {"drift": 0.0, "drift_error": 0.0}
        scale = float(np.max(np.sum(self.rho**2, axis=1)))
        if "balancedness" in self.trajectory:
            moved, bar = self.trajectory["balancedness"].values, self.trajectory["balancedness_error"].values
        else:
            moved = np.diff(self.rho**2 / degrees, axis=1)
            lengths = layer_norms(self.layer, self.vectors) * layer_norms(self.layer, self.errors) / degrees
            bar = 2.0 * (lengths[:, 1:] + lengths[:, :-1])
        return {
            "drift": float(np.max(np.abs(moved - moved[0]))) / scale,
            "drift_error": float(np.max(bar)) / scale,
        }


def drawn(dataset: xr.Dataset, kind: str, divided: bool) -> Any:
    """Left: how far ρ_k² of one flow has moved. Right: the rate of every layer against that of the last one."""
    figure, (left, right) = figures.panels(2, height=3.3)
    labels = [str(label) for label in dataset["case"].values]
    squares, time = dataset["squares"].values, dataset["time"].values
    moved = squares - squares[:, :1]
    flows = np.flatnonzero(np.isfinite(time[:, -1]))
    rows = [i for i in flows if labels[i].startswith(f"{kind}, inputs")] or list(flows)
    if rows:
        # that which moves most
        most = max(rows, key=lambda i: np.nanmax(np.abs(moved[i])))
        layers = np.flatnonzero(np.isfinite(moved[most, -1]))
        figures.curves(
            time[most],
            {f"$k={k + 1}$": moved[most][:, k] for k in layers},
            f"time $t$ ({labels[most].split(',')[0]})",
            r"$\rho_k^2(t)-\rho_k^2(0)$",
            markers=True,
            axes=left,
        )
    rates, degrees = np.abs(dataset["start"].values), dataset["fitted"].values
    last = np.stack([row[np.flatnonzero(np.isfinite(row))[-1]] * np.ones(row.size) for row in rates])
    groups = {r"$d\rho_k^2/dt$": rates}
    if divided:
        groups[r"$d\rho_k^2/dt\,/\,d_k$"] = rates / degrees
    figures.scatter(
        dict.fromkeys(groups, last),
        groups,
        r"$|d\rho_L^2/dt|$ of the last layer",
        "the same of layer $k$",
        log="xy",
        diagonal=True,
        axes=right,
    )
    return figure
