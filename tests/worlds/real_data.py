"""Worlds of the studies on images: errors of other widths, sizes and labels, arms exchanged, other complexities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from worlds import World, seen


def shaken(values: np.ndarray, look: Any, size: float = 0.002) -> np.ndarray:
    """Numbers of every seed off by a fifth of a point, at random: intervals know it."""
    return values + size * np.random.default_rng(4).standard_normal(np.shape(values))


def slightly(values: np.ndarray, look: Any) -> np.ndarray:
    """Numbers of every seed off by a thousandth of their size."""
    return values * (1.0 + 0.001 * np.random.default_rng(5).standard_normal(np.shape(values)))


def backwards(values: np.ndarray, look: Any) -> np.ndarray:
    """The first axis the other way round."""
    return values[::-1]


def at_chance(values: np.ndarray, look: Any) -> np.ndarray:
    """The widest net trained on shuffled labels: nine in ten wrong."""
    values = values.copy()
    values[-1] = 0.9
    return values


def half_wrong(values: np.ndarray, look: Any) -> np.ndarray:
    """The widest net trained on labels most of which are wrong."""
    values = values.copy()
    values[-1] = 0.6 + 0.01 * np.random.default_rng(6).standard_normal(values[-1].shape)
    return values


def by_points(values: np.ndarray, look: Any) -> np.ndarray:
    """Errors that grow by thirty points from width to width."""
    return values + 0.3 * np.arange(len(values))[:, None]


def more(values: np.ndarray, look: Any) -> np.ndarray:
    """A tenth more."""
    return values + 0.1


def tests_backwards(values: np.ndarray, look: Any) -> np.ndarray:
    """Test errors that grow with n; training errors as they are."""
    return np.stack([values[0], values[1][::-1]])


def sizes_backwards(values: np.ndarray, look: Any) -> np.ndarray:
    """All that was seen at the most examples is told of the fewest."""
    return values[:, ::-1]


def not_back(values: np.ndarray, look: Any) -> np.ndarray:
    """Each kick leaves a loss of a tenth."""
    return values + 0.1 * np.arange(len(values))[:, None]


def exchanged(pair: Any, look: Any) -> Any:
    """What was kicked is called the control."""
    return pair[1], pair[0]


def shrinking(pair: Any, look: Any) -> Any:
    """Norms that fall."""
    return tuple(one[::-1] for one in pair)


def both(pair: Any, look: Any) -> Any:
    """Both members slightly off."""
    return tuple(slightly(one, look) for one in pair)


def activated(pair: Any, look: Any) -> Any:
    """A σ between a layer and the one inserted: other functions."""
    return np.maximum(pair[0], 0.0), pair[1]


def biased(pair: Any, look: Any) -> Any:
    """An inserted layer with a bias that the plain net is not told of."""
    return pair[0] + 1e-3, pair[1]


def worse_sgd(pair: Any, look: Any) -> Any:
    """Errors of SGD a tenth worse than they were."""
    return tuple(np.concatenate([one[:, :1] + 0.1, one[:, 1:]], axis=1) for one in pair)


def worse_gd(pair: Any, look: Any) -> Any:
    """Errors of descent a tenth worse than they were."""
    return tuple(np.concatenate([one[:, :1], one[:, 1:] + 0.1], axis=1) for one in pair)


def sharper(values: np.ndarray, look: Any) -> np.ndarray:
    """Minima of SGD sharper by a factor of e."""
    return values + (look.batches > 0)


def slight_errors(pair: Any, look: Any) -> Any:
    """Training and test errors slightly off."""
    return tuple(shaken(one, look, 0.0005) for one in pair)


OVERFIT = (
    seen("the widest net trained on labels most of which are wrong", errors=half_wrong),
    seen("widths the other way round", errors=backwards),
    seen("errors that grow by thirty points a width", errors=by_points),
)
NORMAL = (
    seen("sample sizes the other way round", errors=sizes_backwards),
    seen("test errors that grow with n", errors=tests_backwards),
    seen("random labels: sizes the other way round", random_errors=sizes_backwards),
)
KICKS = (
    seen("kicks from which the loss does not come back", losses=not_back),
    seen("kicks that shrink the weights", norms=shrinking),
)
MINIMA = (
    seen("errors the other way round", errors=lambda e, look: -e),
    seen("complexity read upside down", values=lambda v, look: {name: -one for name, one in v.items()}),
    seen("the draws' correlations with the sign lost in the mean", correlations=lambda r, look: -np.abs(r)),
)


def true(name: str, **methods: Any) -> World:
    """A world that is true, but noisy."""
    return replace(seen(name, **methods), noisy=True)


SLIGHT = "numbers of every seed slightly off"

WORLDS: dict[str, tuple[World, ...]] = {
    "memo90.no-overfit-class-error": (
        *OVERFIT,
        seen("random labels that are not fitted", random_labels=more),
        true("errors of every seed off by a fifth of a point", errors=shaken),
    ),
    "memo90.fig2": (*OVERFIT, true("errors of every seed off by a fifth of a point", errors=shaken)),
    "memo90.generalises-in-n": (
        *NORMAL,
        true("errors of every seed off by a fifth of a point", errors=shaken, random_errors=shaken),
    ),
    "memo90.fig1": (
        *NORMAL,
        seen("four times the weights of the caption", caption=lambda count, look: 4 * count),
        true("errors of every seed off by a fifth of a point", errors=shaken, random_errors=shaken),
    ),
    "memo90.perturb-ce": (
        *KICKS,
        seen("the control exchanged with what was kicked", norms=exchanged),
        true(SLIGHT, norms=both, losses=slightly, tested_losses=slightly),
    ),
    "memo90.fig5": (
        *KICKS,
        seen("a control that is kicked off its zero error", control_errors=more),
        true(SLIGHT, norms=both, losses=slightly, tested_losses=slightly),
    ),
    "memo90.complexity-ranking": (
        *MINIMA,
        true("test errors off by a fifth of a point", errors=lambda e, look: shaken(e, look, 0.0002)),
    ),
    "memo90.sgd-or-gd": (
        seen("SGD ten points worse than it was", ends=worse_sgd),
        seen("descent ten points worse than it was", ends=worse_gd),
        seen("passes of either counted for the other", passes=backwards),
        true(SLIGHT, ends=slight_errors, losses=slightly),
    ),
    "memo90.framework": (
        seen("a Hessian of full rank", spectra=lambda v, look: v + 0.01),
        seen("minima of SGD called those of descent", flatter=lambda f, look: -f),
        seen("SGD's minima sharper than they are", sharpness=sharper),
        true(SLIGHT, sharpness=slightly, spectra=slightly),
    ),
    "cohen.mnist": (
        seen("inserted layers of twice the size", added=lambda share, look: 2.0 * share),
        seen("a rectifier between a layer and the one inserted", outputs=activated),
        seen("a bias in an inserted layer", outputs=biased),
        true(SLIGHT, losses=slightly),
    ),
    "cohen.estimation-error": (
        seen("test errors of the small and the large sample exchanged", errors=lambda e, look: e[:, ::-1]),
        seen("a wide net trained on shuffled labels", errors=at_chance),
        seen("descent that misses a tenth of its sample", trained_errors=more),
        seen("a bad hypothesis that misses a tenth of its sample", bad=lambda b, look: (b[0] + 0.1, b[1])),
        true("errors of every seed off by a fifth of a point", errors=shaken),
    ),
}
