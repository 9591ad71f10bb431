"""The base of all of gradlab's values that hold arrays: equinox's module, made and read at a plain object's cost.

equinox looks at each attribute that is read for a bound method, which it makes a pytree of, and keeps account of which
modules are being initialised: half a microsecond an attribute, some forty a module, a third of what a small run took
beside its evaluations. Neither is needed here; but a bound method that is itself handed to ``jit`` is a constant there,
with its arrays, and not a pytree: hand over the module as an argument. All else is equinox's: fields, converters,
``__check_init__``, abstract variables, flattening; and a class that anyone else derives is made by equinox, with all
its warnings.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx

_MISSING = dataclasses.MISSING


class _Plan:
    """How a module of one class is made."""

    def __init__(self, cls: Any) -> None:
        fields = dataclasses.fields(cls)
        self.positions = tuple(f.name for f in fields if not f.kw_only)
        #: name, default or what makes it, converter.
        self.fields = tuple(
            (f.name, f.default, f.default_factory, f.metadata.get("converter")) for f in fields
        )
        self.names = frozenset(f.name for f in fields)
        #: Whether values given in order are the fields as they are.
        self.plain = not any(f.kw_only or "converter" in f.metadata for f in fields)
        kinds = [kind.__dict__.get("__check_init__") for kind in cls.__mro__]
        self.checks = tuple(check for check in kinds if check is not None)

    def values(self, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
        """The fields' values; None where there are too many, too few or wrong ones."""
        if self.plain and not named and len(given) == len(self.positions):
            return dict(zip(self.positions, given, strict=True))
        known = dict(zip(self.positions, given, strict=False)) | named
        if len(known) != len(given) + len(named) or not self.names.issuperset(known):
            return None
        values: dict[str, Any] = {}
        for name, default, factory, converter in self.fields:
            value = known.get(name, default)
            if value is _MISSING:
                if not callable(factory):
                    return None
                value = factory()
            values[name] = value if converter is None else converter(value)
        return values


def _plan(cls: Any) -> _Plan | None:
    """How a module of that class is made here; None where equinox makes it: with an initialisation of its own."""
    ours = cls.__module__.partition(".")[0] == "gradlab"
    own = [kind for kind in cls.__mro__ if kind not in (object, Module, *Module.__mro__)]
    custom = any("__post_init__" in kind.__dict__ or _initialises(kind) for kind in own)
    abstract = cls.__abstractmethods__ or cls.__abstractvars__ or cls.__abstractclassvars__
    simple = all(f.init for f in dataclasses.fields(cls))
    return _Plan(cls) if ours and simple and not custom and not abstract else None


def _initialises(kind: Any) -> bool:
    """Whether a class has an ``__init__`` that was written, not made from its fields."""
    made = kind.__dict__.get("__init__")
    return made is not None and made.__code__.co_filename != "<string>"


class _Kind(type(eqx.Module)):  # type: ignore[misc]  # equinox's metaclass has no public name
    def __call__(cls, *given: Any, **named: Any) -> Any:
        plan = cls.__dict__.get("_gradlab_plan", _MISSING)
        if plan is _MISSING:
            plan = _plan(cls)
            type.__setattr__(cls, "_gradlab_plan", plan)
        if plan is None or (values := plan.values(given, named)) is None:
            # equinox's words say what is missing, or too much.
            return super().__call__(*given, **named)
        module: Any = object.__new__(cls)
        module.__dict__.update(values)
        for check in plan.checks:
            check(module)
        return module


if TYPE_CHECKING:
    Module = eqx.Module
else:

    class Module(eqx.Module, metaclass=_Kind):
        """A pytree of its fields, as ``equinox.Module``; its bound methods are Python's own."""

        __getattribute__ = object.__getattribute__


def is_module(value: Any) -> bool:
    """Whether a value is a module of gradlab's. (Equinox's classes would be asked one after the other.)"""
    return isinstance(type(value), _Kind)
