"""The landscape of deep linear nets: critical points of every stratum, their values, second order and dimension."""

from gradlab.analysis.landscape.dimension import (
    Dimension,
    local_dimension,
    orbit_dimension,
    pattern_dimension,
    seen_dimension,
    shallow_dimension,
)
from gradlab.analysis.landscape.potential import Landscape, of_problem
from gradlab.analysis.landscape.search import Found, approach, extremes, search
from gradlab.analysis.landscape.second_order import (
    balanced_inertia,
    balanced_spectrum,
    hessian_values,
    inversions,
    is_strict,
    origin_spectrum,
)
from gradlab.analysis.landscape.strata import (
    Pattern,
    balanced_point,
    critical_values,
    fits,
    pattern_of,
    patterns,
    point,
    random_pattern,
    rank_of_path,
    ranks,
    strata,
    trivial_pattern,
    value_of,
)

__all__ = [
    "Dimension",
    "Found",
    "Landscape",
    "Pattern",
    "approach",
    "balanced_inertia",
    "balanced_point",
    "balanced_spectrum",
    "critical_values",
    "extremes",
    "fits",
    "hessian_values",
    "inversions",
    "is_strict",
    "local_dimension",
    "of_problem",
    "orbit_dimension",
    "origin_spectrum",
    "pattern_dimension",
    "pattern_of",
    "patterns",
    "point",
    "random_pattern",
    "rank_of_path",
    "ranks",
    "search",
    "seen_dimension",
    "shallow_dimension",
    "strata",
    "trivial_pattern",
    "value_of",
]
