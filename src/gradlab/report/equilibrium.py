"""An equilibrium for a person and for a program: what it is, its spectrum, its kernel explained, what is proved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradlab import figures
from gradlab.report import drawing, numbers, page

#: A point that polishing moves by more than this part of its weights was not near the equilibrium.
FAR = 1e-2
_SIGNS = ("negative", "zero", "positive")
#: What a part of the kernel is, in words.
_KERNEL = {
    "symmetry": "symmetry: the potential is the same along the orbit",
    "deficiency": "data: the outputs on all examples are the same along a manifold",
    "unexplained": "unexplained: a degenerate equilibrium, or a symmetry that is not known",
}


def record(found: Any, certificate: Any = None) -> dict[str, Any]:
    """Plain values of an ``Equilibrium`` (and a ``Certificate``): ready for JSON, no NaN.

    Eigenvalues come with their bounds; ``null`` stands for what is not known.
    """
    polished = found.polished
    told: dict[str, Any] = {
        "kind": found.kind,
        "why": found.why,
        "hyperbolic": found.hyperbolic,
        "normally_hyperbolic": found.normally_hyperbolic,
        "gradient_norm": _number(polished.gradient),
        "gradient_rounding": _number(polished.rounding),
        "moved": _number(polished.moved),
        "weight_norm": _number(
            math.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in _leaves(found.weights)))
        ),
        "steps": int(polished.steps),
        "distance_to_exact_equilibrium": _number(found.position),
        "complete": bool(found.complete),
        "eigenvalues": [_number(value) for value in found.values],
        "bounds": [_number(bound) for bound in found.bounds],
        "inertia": None,
        "kernel": None,
        "kink": None,
        "witness": None,
        "certificate": None,
    }
    if found.inertia is not None:
        told["inertia"] = _fields(found.inertia, (*_SIGNS, "decided", "threshold", "gap", "why"))
    if found.kernel is not None:
        told["kernel"] = _fields(found.kernel, ("dimension", *_KERNEL, "manifold", "decided", "why"))
    if found.kink is not None:
        told["kink"] = _fields(found.kink, ("residual", "rounding", "stationary", "why"))
        told["kink"] |= {"pairs": np.asarray(found.kink.pairs).tolist(), "slopes": found.kink.slopes.tolist()}
    if found.witness is not None:
        told["witness"] = _fields(found.witness, ("length", "difference", "rounding"))
        flat = np.concatenate([np.ravel(leaf) for leaf in _leaves(found.witness.weights)])
        told["witness"]["weights"] = [_number(value) for value in flat]
    if certificate is not None:
        names = (
            "proved",
            "statement",
            "why",
            "kind",
            "radius",
            "uniqueness",
            "index",
            "kernel",
            "positive",
            "gap",
        )
        told["certificate"] = _fields(certificate, names)
    return told


def render(
    told: Mapping[str, Any], provenance: Mapping[str, Any] | None = None, *, title: str = "An equilibrium"
) -> str:
    """The page of :func:`record`'s values."""
    certificate = told["certificate"]
    return page.fill(
        "equilibrium.html.jinja",
        title=title,
        kind=told["kind"],
        why=told["why"],
        sure=told["kind"] != "undecided",
        rows=_rows(told),
        kernel=_kernel(told["kernel"]),
        certificate=certificate,
        drawings=[drawing.drawing(figure(told), "spectrum")] if told["eigenvalues"] else [],
        provenance=page.facts(provenance),
    )


def lines(told: Mapping[str, Any]) -> list[str]:
    """The same in a few lines for a terminal."""
    out = [f"{told['kind']}: {told['why']}"]
    out += [f"  {name}: {value}" for name, value in _rows(told)]
    if told["kernel"] and told["kernel"]["dimension"]:
        parts = ", ".join(f"{told['kernel'][name]} {name}" for name in _KERNEL)
        out.append(f"  kernel: {told['kernel']['dimension']} = {parts}")
    if certificate := told["certificate"]:
        out.append(
            "  proved: " + certificate["statement"]
            if certificate["proved"]
            else f"  not proved: {certificate['why']}"
        )
    return out


def figure(told: Mapping[str, Any]) -> Any:
    """The spectrum by size, signs apart, zeros at their bounds; below it, of what the dimensions are made."""
    values = np.asarray([math.nan if value is None else value for value in told["eigenvalues"]])
    bounds = np.asarray([math.nan if bound is None else bound for bound in told["bounds"]])
    order, count = np.arange(1, len(values) + 1), told["inertia"]
    if (
        count and count["decided"]
    ):  # of the scaled Hessian: it may know a sign where a bound here is too large
        below, through = count["negative"], count["negative"] + count["zero"]
        zero = (order > below) & (order <= through)
        negative, positive = order <= below, order > through
    else:
        zero = np.abs(values) <= bounds
        negative, positive = (values < 0.0) & ~zero, (values > 0.0) & ~zero
    groups = {"negative": negative, "zero, drawn at its bound": zero, "positive": positive}
    shown = {name: which for name, which in groups.items() if which.any()}
    heights = {name: np.where(name.startswith("zero"), bounds, np.abs(values)) for name in shown}
    threshold = (told["inertia"] or {}).get("threshold")
    drawn, panels = figures.panels(2 if told["inertia"] else 1, columns=1, width=4.9, height=2.9)
    figures.scatter(
        {name: order[which] for name, which in shown.items()},
        {name: heights[name][which] for name, which in shown.items()},
        f"eigenvalue of the Hessian{' along the kinks' if told['kink'] else ''}, in ascending order",
        r"size $|\lambda|$",
        log="y",
        reference={"zero from non-zero": threshold} if threshold else {},
        axes=panels[0],
    )
    if told["inertia"]:
        _composition(told, panels[1])
    return figures.with_caption(drawn, _caption(told))


def _composition(told: Mapping[str, Any], axes: Any) -> None:
    inertia, kernel = told["inertia"], told["kernel"]
    parts = {"negative": inertia["negative"]}
    if kernel and kernel["decided"]:
        parts |= {f"zero: {words.split(':')[0]}": kernel[name] for name, words in _KERNEL.items()}
    else:
        parts["zero"] = inertia["zero"]
    parts["positive"] = inertia["positive"]
    shown = {name: count for name, count in parts.items() if count > 0}
    # the colours of the panel above: series by series, those that are there
    signs = dict.fromkeys(name.split(":")[0] for name in shown)
    colour = {sign: figures.LINES[k] for k, sign in enumerate(signs)}
    rows = range(len(shown) - 1, -1, -1)
    axes.barh(
        rows,
        list(shown.values()),
        0.55,
        color=[colour[name.split(":")[0]] for name in shown],
    )
    for row, count in zip(rows, shown.values(), strict=True):
        axes.text(count, row, f" {count}", va="center")
    axes.set_yticks(rows, list(shown))
    axes.set_xlabel("dimensions")
    axes.set_xmargin(0.12)
    axes.grid(False)


def _caption(told: Mapping[str, Any]) -> str:
    inertia = told["inertia"]
    text = "Above: eigenvalues of the Hessian at the equilibrium by size; "
    text += "one that is zero within its bound is drawn at the bound."
    if not inertia:
        return text.replace("Above: e", "E")
    if not told["complete"]:
        text += f" Only {len(told['eigenvalues'])} of them were computed."
    gap = numbers.plain(inertia["gap"]) if inertia["gap"] is not None else "∞"
    text += (
        f" The gap between zero and non-zero is a factor {gap}."
        if inertia["decided"]
        else " No gap separates them."
    )
    return text + " Below: what the dimensions are made of."


def _rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    words = {True: "yes", False: "no", None: "not decided"}
    rows = [
        (
            "gradient",
            f"‖∇L‖ = {_plain(told['gradient_norm'])}, its rounding {_plain(told['gradient_rounding'])}",
        ),
        ("polished", _moved(told)),
    ]
    if told["kink"]:
        kink = told["kink"]
        rows[0] = (
            "least subgradient",
            f"{_plain(kink['residual'])}, its rounding {_plain(kink['rounding'])}, on {len(kink['pairs'])} kinks",
        )
    inertia = told["inertia"]
    if inertia:
        count = f"({inertia['negative']}, {inertia['zero']}, {inertia['positive']})"
        gap = _plain(inertia["gap"]) if inertia["gap"] is not None else "∞"
        rows.append(
            (
                "inertia (n₋, n₀, n₊)",
                f"{count}, gap {gap}" if inertia["decided"] else f"undecided: {inertia['why']}",
            )
        )
    if witness := told["witness"]:
        rows.append(("lower point", _lower(witness)))
    rows.append(("hyperbolic", words[told["hyperbolic"]]))
    rows.append(("normally hyperbolic", words[told["normally_hyperbolic"]]))
    if told["distance_to_exact_equilibrium"] is not None:
        rows.append(
            (
                "distance to the exact equilibrium",
                f"about {_plain(told['distance_to_exact_equilibrium'])}, across the kernel",
            )
        )
    return rows


#: Weights of a lower point that a page shows; all are in the JSON.
_SHOWN = 12


def _lower(witness: Mapping[str, Any]) -> str:
    shown = ", ".join(_plain(value) for value in witness["weights"][:_SHOWN])
    more = len(witness["weights"]) - _SHOWN
    return (
        f"L is lower by {_plain(-witness['difference'])}, its rounding {_plain(witness['rounding'])}, at a distance of "
        f"{_plain(witness['length'])}: W = ({shown}{f', … {more} more' if more > 0 else ''})"
    )


def _moved(told: Mapping[str, Any]) -> str:
    size, moved = told["weight_norm"] or 0.0, told["moved"] or 0.0
    text = (
        f"{told['steps']} step{'s' * (told['steps'] != 1)}, moved by {_plain(moved)} (‖W‖ = {_plain(size)})"
    )
    if moved > FAR * size:
        text += (
            ": the run had not arrived, and this need not be the equilibrium that it tends to; let it go on"
        )
    return text


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, list | tuple) else [tree]


def _kernel(kernel: Mapping[str, Any] | None) -> list[tuple[int, str]]:
    if not kernel or not kernel["dimension"]:
        return []
    if not kernel["decided"]:
        return [(kernel["dimension"], f"not decided: {kernel['why']}")]
    return [(kernel[name], words) for name, words in _KERNEL.items() if kernel[name]]


def _plain(value: float | None) -> str:
    return numbers.plain(value, 2)


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _fields(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(thing, name) for name in names}
    return {
        name: _number(value) if isinstance(value, float | np.floating) else _python(value)
        for name, value in found.items()
    }


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
