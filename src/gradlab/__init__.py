"""gradlab: a laboratory for the gradient dynamics of deep networks.

Public names are loaded when first used, so that ``import gradlab`` costs nothing and changes no setting.
"""

from __future__ import annotations

import importlib
from typing import Any

_ROOMS: dict[str, tuple[str, ...]] = {
    "gradlab.problem.networks": ("Network", "Dense", "Convolutional", "Residual", "Function"),
    "gradlab.problem.activations": ("activation", "leaky_relu", "polynomial", "smooth_relu"),
    "gradlab.problem.initialisation": ("Gaussian", "He", "Balanced", "Identity", "Factorised"),
    "gradlab.problem.losses": (
        "Square",
        "Lp",
        "Exponential",
        "Logistic",
        "CrossEntropy",
        "CustomLoss",
    ),
    "gradlab.problem.data": ("Data",),
    "gradlab.problem.statistics": ("condensed",),
    "gradlab.problem.problem": ("Problem", "stack", "unstack"),
    "gradlab.dynamics.flow": ("Flow", "GradientFlow"),
    "gradlab.dynamics.charts": ("NormalisedFlow", "WeightNormalisation", "UnitNormPenalty"),
    "gradlab.dynamics.end_to_end": ("EndToEndFlow",),
    "gradlab.dynamics.descent": (
        "GradientDescent",
        "StochasticGradientDescent",
        "Constant",
        "PowerLaw",
        "Geometric",
        "LossScaled",
    ),
    "gradlab.dynamics.kicks": ("Kicked",),
    "gradlab.dynamics.clocks": ("Clock", "Time", "LogTime", "LogLoss", "ArcLength", "LogNorm"),
    "gradlab.dynamics.solvers.methods": ("Adaptive", "Fixed", "Descent"),
    "gradlab.dynamics.solvers.auto": ("Auto",),
    "gradlab.dynamics.solvers.exact": ("Exact",),
    "gradlab.dynamics.solvers.multistep": ("MRKC3", "MRKC5"),
    "gradlab.dynamics.solvers.rkc": ("RKC2", "RKC3"),
    "gradlab.dynamics.solvers.rock4": ("ROCK4",),
    "gradlab.dynamics.filippov.solver": ("Filippov",),
    "gradlab.dynamics.homogeneous": ("HomogeneousFlow",),
    "gradlab.dynamics.stops": ("Stop",),
    "gradlab.observe.observables": ("Observable", "Distance", "Direction"),
    "gradlab.observe.spectrum": ("spectrum", "density", "trace"),
    "gradlab.analysis.solutions": ("minimum_norm", "ridge", "max_margin"),
    "gradlab.analysis.paths": ("ridge_path", "regularised_exponential", "local_pseudoinverse"),
    "gradlab.analysis.kkt": ("kkt_residual",),
    "gradlab.analysis.equilibria.polishing": ("polish",),
    "gradlab.analysis.equilibria.inertia": ("inertia",),
    "gradlab.analysis.equilibria.symmetry": ("symmetry_orbit",),
    "gradlab.analysis.equilibria.classification": ("classify",),
    "gradlab.analysis.equilibria.continuation": ("follow",),
    "gradlab.analysis.linearisation": ("linearise", "virtual_data", "one_layer_mapping"),
    "gradlab.analysis.conjugacy": ("conjugacy",),
    "gradlab.analysis.certificates": ("certify", "arora_certificate", "enclose_flow"),
    "gradlab.laboratory": ("run", "at"),
    "gradlab.claims.claim": ("Case", "Claim", "Measure", "Part", "Study", "Verdict", "judge"),
    "gradlab.claims.verification": ("verify",),
}

_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gradlab' has no attribute {name!r}; public names: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
