"""memo112.transient-length: missing hypothesis (what is held: it holds for the norm of a layer, not for the product).

Statement (memo 112, sections 1 and 3): the transient "lasts longer for smaller initializations and for
deeper networks"; "the smaller rho_{t=0} is, the longer it takes to rho to grow".

Counterexample. Eq. 5 with constant sums a = b = 1: d rho/dt = 2 L rho^(2-2/L) (1 - rho), from rho(0) = 1/100
to rho = 1/2, the half of its equilibrium. The transient of 12 layers is shorter than that of 6.

Why it decides. With r = rho^(1/L) the time is T = 1/2 int r^(1-L)/(1 - r^L) dr from 100^(-1/L) to 2^(-1/L),
enclosed below in ball arithmetic. Its leading term rho(0)^(-(1-2/L))/2(L-2) grows with L only while L^2 < 2(L-2)
log 1/rho(0); as L grows at a fixed rho(0), T goes to zero like 1/L.

What saves it. The norm of a layer is held: from r = 1/10 the time of every further layer is longer.
"""

from itertools import pairwise

from flint import acb, arb, ctx

ctx.prec = 80


def time(layers, start, end):
    """The time from one norm of a layer to another, as a ball."""

    def slowness(r, _):
        return r ** (1 - layers) / (1 - r**layers) / 2

    return acb.integral(slowness, acb(start), acb(end)).real


def half(layers):
    return arb(2) ** (-arb(1) / layers)


held = {layers: time(layers, arb(100) ** (-arb(1) / layers), half(layers)) for layers in (3, 6, 12)}
assert held[3] < held[6]
assert held[12] < held[6]
print(
    f"refuted: from rho(0) = 1/100 the transient of 6 layers lasts {held[6].str(8)}, of 12 {held[12].str(8)}"
)
layered = [time(layers, arb(1) / 10, half(layers)) for layers in range(2, 13)]
assert all(less < more for less, more in pairwise(layered))
print("repaired: from a layer's norm of 1/10 each of 2 to 12 layers makes it longer")
