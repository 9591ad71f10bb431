"""From a specification to objects: the problem, how it is to move, and when to look."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.analysis import solutions
from gradlab.dynamics import charts, clocks, descent, end_to_end, flow, kicks, stops
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.solver import Solver
from gradlab.laboratory import reducing
from gradlab.laboratory.choosing import checked, named
from gradlab.observe.observables import Distance, Observable
from gradlab.observe.observables import observables as _named
from gradlab.problem.data import Data
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem
from gradlab.specification import code, costs, flows, networks, optimisers, schema, sources
from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError, within
from gradlab.wording import brief

_CLOCKS: dict[str, Any] = {
    "time": clocks.Time,
    "log-time": clocks.LogTime,
    "log-loss": clocks.LogLoss,
    "arc length": clocks.ArcLength,
    "log-norm": clocks.LogNorm,
}
_DISTANCE = "distance_to_minimum_norm"
_FLOWS: dict[str, Any] = {
    "gradient flow": flow.GradientFlow,
    "normalised": charts.NormalisedFlow,
    "weight normalisation": charts.WeightNormalisation,
}


@dataclass(frozen=True)
class Experiment:
    """What :func:`gradlab.laboratory.run` is called with, and the specification it came from.

    ``code`` is the digest of one's own Python code (see :func:`gradlab.specification.code.digest`), or None.
    """

    specification: Specification
    problem: Problem
    flow: flow.Flow
    weights: Any
    records: np.ndarray
    clock: clocks.Clock
    solver: Solver | str
    stops: stops.Stop
    observables: tuple[str | Observable, ...] | None
    code: str | None


@float64
def build(
    specification: Specification, folder: Path, module: ModuleType | None = None, data: Data | None = None
) -> Experiment:
    """Everything a run needs.

    Parameters
    ----------
    folder : paths in the specification are relative to it.
    module : one's own Python code, already executed, or None.
    data : the data, if at hand (stored in a run directory); else they are made or read.

    Raises
    ------
    SpecificationError
        One sentence on what does not fit.
    """
    try:
        return _build(specification, folder, module, data)
    except SpecificationError:
        raise
    except ValueError as error:
        raise SpecificationError(" ".join(str(error).split())) from error
    except MemoryError as error:
        raise SpecificationError("the problem does not fit into memory: write smaller sizes") from error
    except Exception as error:
        if module is None:
            raise
        what = brief(str(error)) or "no message"
        raise SpecificationError(
            f"--code: {module.__file__} raised {type(error).__name__}: {what}"
        ) from error


def _build(
    specification: Specification, folder: Path, module: ModuleType | None, data: Data | None
) -> Experiment:
    costs.weigh(specification)
    with within("loss"):
        loss = networks.loss(specification.loss, module)
    if data is None:
        with within("data"):
            data = sources.data(specification.data, loss.labels, folder)
    weights_key, noise_key, kick_key = _keys(specification)
    with within("network"):
        network, scheme = networks.network(specification.network, data, loss, module)
        weights = network.init(weights_key, scheme)
    problem = Problem(network, loss, data, decay=specification.decay)
    own = specification.network.kind == "function" or specification.loss.kind == "function"
    digest = code.digest(problem, weights) if own else None
    with within("flow"):
        moving = _flow(specification.flow, problem, noise_key, kick_key)
    experiment = Experiment(
        specification=specification,
        problem=problem,
        flow=moving,
        weights=weights,
        records=_records(specification),
        clock=_clock(specification),
        solver=_solver(specification),
        stops=_stop(specification.stop),
        observables=_observables(specification.observables, moving.observed),
        code=digest,
    )
    _check(experiment)
    return experiment


@float64
def with_seed(experiment: Experiment, seed: int) -> Experiment:
    """The experiment with another ``seed``: drawn anew are the weights, and the keys of noise and kicks.

    It is what :func:`build` makes of that specification, but for the digest of one's own code, and costs a tenth.
    """
    specification = experiment.specification.model_copy(update={"seed": seed})
    weights_key, noise_key, kick_key = _keys(specification)
    section, problem = specification.network, experiment.problem
    scheme = None if section.kind == "function" else networks.scheme(section.init)
    weights = problem.network.init(weights_key, scheme)
    moving = _flow(specification.flow, problem, noise_key, kick_key)
    return replace(experiment, specification=specification, weights=weights, flow=moving)


def _keys(specification: Specification) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the weights, of noise and of kicks."""
    weights, noise, kick = jax.random.split(jax.random.key(specification.seed), 3)
    return weights, noise, kick


def _check(experiment: Experiment) -> None:
    """What the laboratory would refuse, before a run directory is made."""
    observed = experiment.flow.observed
    reasons = {
        "in [clock]": experiment.clock.refuse(experiment.flow),
        "in [stop]": experiment.stops.refuse(observed),
    }
    for where, reason in reasons.items():
        if reason is not None:
            raise SpecificationError(f"{where}: {reason}")
    with within("solver"):
        checked(experiment.flow, experiment.clock, experiment.solver)
        if experiment.specification.solver.reduce:
            reducing.asked(experiment.flow, experiment.clock, experiment.weights, False)
    try:
        _named(experiment.observables or (), observed)
    except ValueError as error:
        raise SpecificationError(f"at the top, in observables: {error}") from error


def _observables(names: list[str] | None, problem: Problem) -> tuple[str | Observable, ...] | None:
    """What is looked at, by name; what theory knows for the problem is put in."""
    return (
        None if names is None else tuple(_distance(problem) if name == _DISTANCE else name for name in names)
    )


def _distance(problem: Problem) -> Observable:
    least = solutions.minimum_norm_of(problem)
    if least is None or len(problem.network.layers(problem.network.shapes())) != 1:
        raise SpecificationError(
            f"at the top, in observables: {_DISTANCE} is that of one linear layer under the square loss; leave it out"
        )
    return Distance((least,), name=_DISTANCE)


def _discrete(specification: Specification) -> bool:
    return isinstance(specification.flow, flows.DescentFlow | flows.Stochastic | flows.Optimising)


def _flow(section: flows.Flow, problem: Problem, noise: jax.Array, kick: jax.Array) -> flow.Flow:
    made: flow.Flow
    if problem.network.random and not isinstance(section, flows.Stochastic | flows.Optimising):
        raise SpecificationError(
            'in [network]: dropout acts in the iterations of sgd and of optimisers; write kind = "momentum" in [flow], '
            "or leave dropout out"
        )
    match section:
        case flows.PlainFlow(kind=kind):
            made = _FLOWS[kind](problem)
        case flows.PenaltyFlow(penalties=penalties):
            made = charts.UnitNormPenalty(problem, jnp.asarray(penalties, float))
        case flows.EndToEnd(depth=depth):
            made = end_to_end.EndToEndFlow(problem, depth)
        case flows.DescentFlow(step=step, precision=precision):
            made = descent.GradientDescent(problem, _step(step), precision)
        case flows.Stochastic(step=step, batch=batch, sampling=sampling, precision=precision):
            _refuse_batch(batch, problem)
            made = descent.StochasticGradientDescent(problem, _step(step), batch, noise, sampling, precision)
        case flows.Optimising(step=step, batch=batch, sampling=sampling, precision=precision):
            from gradlab.dynamics.optimiser import Optimiser

            _refuse_batch(batch or 1, problem)
            rate = optimisers.learning_rate(step, _step)
            made = Optimiser(
                problem, optimisers.transformation(section, rate), batch, noise, sampling, precision
            )
    if section.kicks is None:
        return made
    until = math.inf if section.kicks.until is None else section.kicks.until
    return kicks.Kicked(
        made, jnp.asarray(section.kicks.sigma), section.kicks.every, kick, until, section.kicks.scale
    )


def _refuse_batch(batch: int, problem: Problem) -> None:
    if batch > len(problem.data.inputs):
        raise SpecificationError(
            f"in [flow]: batch is {batch}, but there are {len(problem.data.inputs)} examples"
        )


def _step(section: Any) -> Any:
    match section:
        case flows.PowerLawStep(step=step, exponent=exponent, delay=delay):
            return descent.PowerLaw(*map(jnp.asarray, (step, exponent, delay)))
        case flows.GeometricStep(step=step, factor=factor, every=every):
            return descent.Geometric(jnp.asarray(step), jnp.asarray(factor), every)
        case flows.LossScaledStep(step=step):
            return descent.LossScaled(jnp.asarray(step))
    return descent.Constant(jnp.asarray(section))


def _clock(specification: Specification) -> clocks.Clock:
    if _discrete(specification) and specification.clock.kind != "time":
        raise SpecificationError(
            "in [clock]: descent takes no clock, its records are iterations; for log-loss time write "
            'step = { kind = "loss-scaled", step = … } in [flow]'
        )
    return _CLOCKS[specification.clock.kind]()


def _solver(specification: Specification) -> Solver | str:
    section = specification.solver
    if section.tolerance is not None and section.step is not None:
        raise SpecificationError(
            "in [solver]: give a tolerance (adaptive steps) or a step (equal steps), not both"
        )
    if _discrete(specification):
        if section.method != "auto" or section.tolerance is not None or section.step is not None:
            raise SpecificationError(
                "in [solver]: descent is its own solver; leave method, tolerance and step out"
            )
        return "auto"
    automatic = section.method == "auto"
    with within("solver"):
        if section.step is not None:
            return Fixed("heun" if automatic else section.method, jnp.asarray(section.step))
        if section.tolerance is None:
            return "auto" if automatic else named(section.method)
        return named(section.method, jnp.asarray(section.tolerance))


def _records(specification: Specification) -> np.ndarray:
    """Clock values (iterations, for descent) at which observables are recorded; the first is 0."""
    section = specification.records
    if section.spacing == "linear":
        if section.first is not None:
            raise SpecificationError('in [records]: first belongs to spacing = "log"')
        values = np.linspace(0.0, section.until, section.count)
    else:
        first = section.first
        if first is None:
            first = 1.0 if _discrete(specification) else 1e-4 * section.until
        if first >= section.until:
            raise SpecificationError(
                f"in [records]: first is {first:g}; it must be less than until = {section.until:g}"
            )
        values = np.concatenate([[0.0], np.geomspace(first, section.until, section.count - 1)])
    return np.unique(np.round(values)) if _discrete(specification) else values


def _stop(section: schema.StopTable) -> stops.Stop:
    if section.time is not None and section.log_t is not None:
        raise SpecificationError("in [stop]: time is short for log_t = log(time); give one of them")
    if section.loss is not None and section.log_loss is not None:
        raise SpecificationError("in [stop]: loss is short for log_loss = log(loss); give one of them")
    given = section.model_dump(exclude={"time"}, exclude_none=True)
    if section.time is not None:
        given["log_t"] = math.log(section.time)
    return stops.Stop(**{name: jnp.asarray(value) for name, value in given.items()})
