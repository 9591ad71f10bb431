"""How a network uses its arrays, read off its program: in which order, and by how many products."""

from __future__ import annotations

from typing import Any

#: What only moves, casts or turns an array.
_MOVED = {"transpose", "reshape", "convert_element_type", "squeeze", "broadcast_in_dim", "copy"}
_PRODUCTS = ("dot_general", "conv_general_dilated")


def _inner(equation: Any) -> Any:
    """The program that an equation calls with the same arguments; None where it calls none."""
    inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    inner = getattr(inner, "jaxpr", inner)
    return inner if hasattr(inner, "eqns") and len(inner.invars) == len(equation.invars) else None


def _variables(equation: Any) -> list[Any]:
    return [None if hasattr(one, "val") else one for one in equation.invars]


def products_with(jaxpr: Any, variable: Any) -> int:
    """How many products take a variable, or what is only moved, cast or turned of it; the same one counts once."""
    aliases, products, deeper = {variable}, set(), 0
    for equation in jaxpr.eqns:
        variables = _variables(equation)
        places = [k for k, one in enumerate(variables) if one is not None and one in aliases]
        if not places:
            continue
        inner = _inner(equation)
        if inner is not None:
            deeper += sum(products_with(inner, inner.invars[k]) for k in places)
        elif equation.primitive.name in _PRODUCTS:
            products |= {variables[1 - k] if k < 2 else None for k in places}
        elif equation.primitive.name in _MOVED:
            aliases.update(equation.outvars)
    return len(products) + deeper


def first_use(jaxpr: Any, variable: Any) -> tuple[int, ...]:
    """Where a variable, or what is only moved of it, is used first: an equation, and that inside what it calls."""
    aliases = {variable}
    for number, equation in enumerate(jaxpr.eqns):
        places = [k for k, one in enumerate(_variables(equation)) if one is not None and one in aliases]
        if not places:
            continue
        if equation.primitive.name in _MOVED:
            aliases.update(equation.outvars)
            continue
        inner = _inner(equation)
        deeper = () if inner is None else min(first_use(inner, inner.invars[k]) for k in places)
        return (number, *deeper)
    return (len(jaxpr.eqns),)
