"""Worlds of the studies of conserved quantities: other fields, other laws, other steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from worlds import drift, noisy, seen


def broken(fields: np.ndarray, look: Any) -> np.ndarray:
    """One more field, which is that of no net."""
    more = np.random.default_rng(3).standard_normal(fields.shape[1:])
    return np.concatenate([fields, (more + more.T)[None]])


def decayed(rows: np.ndarray, look: Any) -> np.ndarray:
    """Descent with a weight decay that is not told."""
    return rows * (1.0 - 1e-3 * np.arange(len(rows)))[:, None, None]


WORLDS = {
    "marcotte23.conservation-laws": (
        seen("fields without brackets", algebra=lambda algebra, look: look.generators),
        seen("a field that breaks the laws", generators=broken),
        seen("a law fewer", laws=lambda laws, look: (laws[0] - 1, laws[1])),
        seen("every field but the first", generators=lambda fields, look: fields[1:]),
        noisy(1e-15),
    ),
    "marcotte23.finite-step": (
        seen("a gradient a thousandth too long", slope=lambda slope, look: 1.001 * slope),
        seen("descent that decays", descended=decayed),
        seen("forces of the end alone", forces=lambda K, look: np.repeat(K[-1:], len(K), axis=0)),
        drift(1e-3),
        noisy(1e-12),
    ),
}
