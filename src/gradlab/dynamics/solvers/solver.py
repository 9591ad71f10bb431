"""What every solver is: it says what it suits, steps itself, and says what it did. A new solver is one file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Array

from gradlab.dynamics import energy
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.state import State
from gradlab.dynamics.stops import Stop
from gradlab.modules import Module


class Solver(Module):
    """Abstract: something that carries the chart variables from one record to the next.

    A solver of its own overrides ``advance`` (or, stepping on the host, ``carry``), and of the rest what it needs.
    """

    #: Whether it steps on the host (``carry``), not inside a compiled call (``advance``).
    hosted: ClassVar[bool] = False
    #: Whether rounding is its only error, so that the second of two solves has its data shaken by rounding too.
    rounds_only: ClassVar[bool] = False
    #: Whether the error of a solve is that of its steps, as they estimate it.
    estimates: ClassVar[bool] = False

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        """Why it cannot serve a run, in a sentence that names what can; else None."""
        if flow.discrete:
            return (
                f"{type(flow).__name__} is an iteration and {type(self).__name__} integrates continuous flows: "
                "use Descent(), or GradientFlow for the continuous flow"
            )
        return None

    def suits(self, flow: Flow, clock: Clock, ensemble: bool = False) -> Solver:
        """The solver with what a run decides filled in; ValueError where it cannot serve."""
        return self

    def until(self, end: float) -> Solver:
        """The solver, told the clock value at which the run ends."""
        return self

    def memory(self, pair: Any) -> Any:
        """What the method keeps from step to step beside the pair (y, u): small, stored with the run."""
        return ()

    def balanced(self, flow: Flow, y: Any) -> Any:
        """The balance of energy as it begins (``energy.first_balance``); nothing, (), for what does not keep one."""
        return energy.first_balance(flow, y)

    def scratch(self, pair: Any) -> Any:
        """What it keeps but can compute again, e.g. factorisations: not stored, dropped at segment borders."""
        return ()

    def following(self, memory: Any) -> Solver:
        """The solver of the next call, by what the last one kept (on the host)."""
        return self

    def ready(self, memory: Any) -> Any:
        """Whether, by what the last call kept, the next is this solver's as it is (``following`` is itself); pure."""
        return True

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        """Towards clock value ``end``, in at most ATTEMPTS steps (``limit`` iterations); pure, to be compiled."""
        # not abstract: a solver has this or ``carry``, by ``hosted``
        raise NotImplementedError(f"{type(self).__name__} has no compiled step")

    def carry(
        self, flow: Flow, clock: Clock, stop: Stop, state: State, end: float, tell: Callable[[float], None]
    ) -> State:
        """Towards clock value ``end`` or the stop, on the host; after every step ``tell`` hears the clock."""
        # not abstract: a solver has this or ``advance``, by ``hosted``
        raise NotImplementedError(f"{type(self).__name__} does not step on the host")

    def seen(self, state: State) -> dict[str, Array]:
        """What it adds to a record."""
        return {}

    def finals(self, memory: Any) -> dict[str, tuple[tuple[str, ...], Array]]:
        """What it adds to a run's end: name to (dims, values)."""
        return {}

    def describe(self) -> str:
        """The solver in words, e.g. ``Adaptive dopri8, tolerance 1e-09``."""
        return type(self).__name__

    def used(self, trajectory: Any) -> str:
        """What was done in words, by what a run recorded."""
        return self.describe()

    def coarser(self) -> Solver:
        """The same method with a larger error: what the error bars are measured against."""
        raise ValueError(f"{type(self).__name__} has no coarser version")

    def compared(self) -> Solver:
        """The solver as the first of two solves: never the same steps as its :meth:`coarser` one."""
        return self
