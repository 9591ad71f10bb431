"""The theorems that are asked of a run, in the order of the table."""

from __future__ import annotations

from gradlab.checking.theorem import Theorem
from gradlab.checking.theorems import balance, curvature, homogeneous, linear

#: Every theorem of the table.
THEOREMS: tuple[Theorem, ...] = (
    *balance.THEOREMS,
    *homogeneous.THEOREMS,
    *linear.THEOREMS,
    *curvature.THEOREMS,
)
