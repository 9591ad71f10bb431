"""gradlab: a laboratory for the gradient dynamics of deep networks.

The names used most stand at the top, the others in groups: ``gradlab.init.Balanced``. They are loaded when first
used, so that ``import gradlab`` costs nothing and changes no setting.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

#: Group ("" is the top) → what it holds, and the public names of every module.
_TABLE: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "": (
        "",
        {
            "gradlab.problem.problem": ("Problem", "stack", "unstack"),
            "gradlab.problem.data": ("Data",),
            "gradlab.problem.networks": ("Network", "Dense", "Convolutional", "Residual", "Function"),
            "gradlab.problem.losses": ("Square", "Exponential", "Logistic", "CrossEntropy"),
            "gradlab.problem.initialisation": ("Gaussian",),
            "gradlab.dynamics.flow": ("GradientFlow",),
            "gradlab.dynamics.descent": ("GradientDescent", "StochasticGradientDescent"),
            "gradlab.dynamics.optimiser": ("Optimiser",),
            "gradlab.dynamics.clocks": ("Time", "LogTime", "LogLoss"),
            "gradlab.dynamics.solvers.methods": ("Adaptive",),
            "gradlab.dynamics.stops": ("Stop",),
            "gradlab.laboratory": ("run", "at"),
            "gradlab.observe.spectrum": ("spectrum",),
            "gradlab.analysis.equilibria.classification": ("classify",),
            "gradlab.claims.verification": ("verify",),
            "gradlab.checking.check": ("check",),
            "gradlab.checking.probe": ("Probe",),
            "gradlab.sweeping.sweep": ("sweep",),
        },
    ),
    "data": (
        "Data that are generated, bundled or fetched, and smaller data of the same potential or Hessian.",
        {
            "gradlab.problem.data": (
                "breast_cancer",
                "chebyshev",
                "diabetes",
                "digits",
                "gaussian_clouds",
                "linear_regression",
                "separable",
                "teacher",
                "whitened_regression",
            ),
            "gradlab.loaders": ("cifar10", "gas_sensor", "mnist"),
            "gradlab.problem.statistics": ("condensed",),
            "gradlab.analysis.linearisation": ("virtual_data", "one_layer_mapping"),
        },
    ),
    "activations": (
        "Activations with parameters, and those that have a name.",
        {"gradlab.problem.activations": ("activation", "leaky_relu", "polynomial", "smooth_relu")},
    ),
    "init": (
        "Schemes that draw initial weights.",
        {"gradlab.problem.initialisation": ("He", "Balanced", "Identity", "Factorised")},
    ),
    "networks": (
        "Networks used less often.",
        {"gradlab.problem.pooled": ("Pooled",)},
    ),
    "losses": (
        "Losses used less often, and one's own.",
        {
            "gradlab.problem.losses": ("Lp", "CustomLoss"),
            "gradlab.problem.kinked": ("Hinge", "Quantile", "Softened"),
        },
    ),
    "flows": (
        "Flows in other charts, of the product of the layers, and with kicks.",
        {
            "gradlab.dynamics.flow": ("Flow",),
            "gradlab.dynamics.charts": (
                "NormalisedFlow",
                "WeightNormalisation",
                "UnitNormPenalty",
                "ControlledNorm",
            ),
            "gradlab.dynamics.end_to_end": ("EndToEndFlow",),
            "gradlab.dynamics.homogeneous": ("HomogeneousFlow",),
            "gradlab.dynamics.kicks": ("Kicked",),
            "gradlab.dynamics.momentum": ("HeavyBall",),
            "gradlab.analysis.certificates": ("enclose_flow", "arora_certificate"),
        },
    ),
    "schedules": (
        "Step sizes of descent as functions of the iteration.",
        {"gradlab.dynamics.descent": ("Constant", "PowerLaw", "Geometric", "LossScaled")},
    ),
    "clocks": (
        "Clocks other than physical time, its logarithm and log-loss time.",
        {"gradlab.dynamics.clocks": ("Clock", "ArcLength", "LogNorm")},
    ),
    "solvers": (
        "Solvers other than embedded pairs.",
        {
            "gradlab.dynamics.solvers.fixed": ("Fixed",),
            "gradlab.dynamics.solvers.iteration": ("Descent",),
            "gradlab.dynamics.solvers.auto": ("Auto",),
            "gradlab.dynamics.solvers.policy": ("Policy",),
            "gradlab.dynamics.solvers.exact": ("Exact",),
            "gradlab.dynamics.solvers.softening": ("Softening",),
            "gradlab.dynamics.solvers.multistep": ("MRKC3", "MRKC5"),
            "gradlab.dynamics.solvers.counting": ("counted",),
            "gradlab.dynamics.solvers.rkc": ("RKC2", "RKC3"),
            "gradlab.dynamics.solvers.rock4": ("ROCK4",),
            "gradlab.dynamics.filippov.solver": ("Filippov",),
        },
    ),
    "observables": (
        "Observables that take a parameter; the others are named in ``run``.",
        {"gradlab.observe.observables": ("Observable", "Distance", "Direction")},
    ),
    "spectra": (
        "Estimates of the whole spectrum of a Hessian.",
        {"gradlab.observe.spectrum": ("density", "trace")},
    ),
    "equilibria": (
        "Equilibria: found, counted, proved, followed, and the flow close to them.",
        {
            "gradlab.analysis.equilibria.polishing": ("polish",),
            "gradlab.analysis.equilibria.inertia": ("inertia",),
            "gradlab.analysis.equilibria.symmetry": ("symmetry_orbit",),
            "gradlab.analysis.equilibria.continuation": ("follow",),
            "gradlab.analysis.certificates": ("certify",),
            "gradlab.analysis.linearisation": ("linearise",),
            "gradlab.analysis.conjugacy": ("conjugacy",),
        },
    ),
    "devices": (
        "Several devices at once.",
        {"gradlab.problem.sharding": ("sharded",)},
    ),
    "solutions": (
        "Solutions that are known: of least norm, of least squares with decay, of largest margin.",
        {
            "gradlab.analysis.solutions": ("minimum_norm", "ridge", "max_margin"),
            "gradlab.analysis.paths": ("ridge_path", "regularised_exponential", "local_pseudoinverse"),
            "gradlab.analysis.kkt": ("kkt_residual",),
            "gradlab.analysis.norm_dynamics": ("NormDynamics",),
        },
    ),
    "models": (
        "Models of Equinox, Flax and PyTorch as networks.",
        {"gradlab.checking.models.door": ("network_of",)},
    ),
    "claims": (
        "Claims, their studies and verdicts.",
        {
            "gradlab.claims.claim": ("Claim", "Measure", "Repair", "Sentence"),
            "gradlab.claims.cases": ("Case", "case", "ensemble", "generator", "point"),
            "gradlab.claims.looks": ("Look",),
            "gradlab.claims.measured": ("NOT_ASKED", "Number", "at_least", "at_most", "equals"),
            "gradlab.claims.studies": ("Study", "study"),
            "gradlab.claims.plots": ("Figure", "Panel"),
            "gradlab.claims.judging": ("Verdict", "judge"),
            "gradlab.claims.ready": (
                "along",
                "angle_to",
                "approach_of",
                "approaches_like",
                "distance_to",
                "drift",
                "eigenvalue_signs",
                "limit_of",
                "rate_of",
            ),
            "gradlab.analysis.limits": ("fit_limit",),
            "gradlab.analysis.asymptotics": ("scaling_law",),
            "gradlab.analysis.pairs": ("compared",),
        },
    ),
}

_HOMES: dict[str, dict[str, str]] = {
    group: {name: module for module, names in modules.items() for name in names}
    for group, (_, modules) in _TABLE.items()
}
_PATHS: dict[str, str] = {
    name: f"gl.{group}.{name}" if group else f"gl.{name}" for group, names in _HOMES.items() for name in names
}


def _suggestion(name: str, group: str) -> str:
    """``did you mean gl.init.Balanced?``, or where to look if no name is close; groups are named at the top only."""
    groups = {} if group else {other: f"gl.{other}" for other in _HOMES if other}
    spelt = {known.lower(): path for known, path in (_PATHS | groups).items()}
    close = get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    return f"did you mean {spelt[close[0]]}?" if close else "dir(gl) lists the names and groups there are"


def _reader(group: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of the top or of a group."""
    homes, path = _HOMES[group], f"gradlab.{group}".rstrip(".")

    def read(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(homes[name]), name)
        sentence = f"module {path!r} has no attribute {name!r}"
        raise AttributeError(sentence if name.startswith("_") else f"{sentence}: {_suggestion(name, group)}")

    return read, lambda: sorted(homes)


def _module(group: str) -> ModuleType:
    module = ModuleType(f"gradlab.{group}", _TABLE[group][0])
    read, names = _reader(group)
    vars(module).update(__getattr__=read, __dir__=names, __all__=names())
    sys.modules[module.__name__] = module
    return module


# gradlab.claims is a package: it takes its reader from here
globals().update({group: _module(group) for group in _HOMES if group not in ("", "claims")})

_read, _names = _reader("")
__all__ = sorted([*_names(), *(group for group in _HOMES if group)])
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    return importlib.import_module("gradlab.claims") if name == "claims" else _read(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
