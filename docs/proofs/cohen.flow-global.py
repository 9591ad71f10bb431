"""cohen.flow-global: missing hypothesis (the convex loss has a minimum, and a bounded set of minimisers).

Statement (Cohen's slides, "Convergence to Global Optimum", Corollary): l convex, W_1, ..., W_N balanced at the start,
l(W) below the loss of every singular W; "then, GF converges to global min".

Counterexample. Two layers of one weight, l(w) = 2 - w for w <= 1 and 1/w for w >= 1: convex, once continuously
differentiable. Start w_1 = w_2 = 1: balanced, w = 1, and l(1) = 1 < 2 = l(0), the loss of the only singular w.

Why it decides. With w_1 = w_2 the flow of the layers moves w = w_2 w_1 by dw/dt = -2 w l'(w), which is 2/w for w >= 1:
w^2 grows at the rate 4, w(t) = (1 + 4t)^(1/2), without end. l has no minimum to converge to. That l is convex
with this slope (-1, then -1/w^2) is asserted by its chords on a grid; the rate of w^2 is exact wherever asked.

What saves it. A minimum: with l(w) = (w - 3)^2 in its place, whose one minimiser is a bounded set, the same start moves
towards 3 from either side and rests there.
"""

from fractions import Fraction as Q
from itertools import pairwise


def loss(w):
    return 2 - w if w <= 1 else 1 / w


def slope(w):
    return Q(-1) if w <= 1 else -1 / w**2


def motion(slope, w1, w2):
    """The derivative of w_2 w_1 along the gradient flow of the layers."""
    g = slope(w2 * w1)
    return -g * w2 * w2 - g * w1 * w1


grid = [Q(k, 4) for k in range(-20, 400)]
chords = [(a, b, (loss(b) - loss(a)) / (b - a)) for a, b in pairwise(grid)]
assert all(slope(a) <= chord <= slope(b) for a, b, chord in chords)  # convex, with this slope
start = Q(1), Q(1)
assert start[0] ** 2 == start[1] ** 2
assert loss(start[0] * start[1]) < loss(Q(0))
roots = [Q(k, 3) for k in range(3, 60)]  # w_1 = w_2, so w = root^2 >= 1
assert all(2 * r**2 * motion(slope, r, r) == 4 for r in roots)  # (w^2)' = 4
assert all(slope(r**2) < 0 for r in roots)  # no minimum on the way
print("refuted: balanced, below the loss of w = 0, and w^2 = 1 + 4t: the flow leaves to infinity")


def attained(w):
    return 2 * (w - 3)


assert attained(Q(3)) == 0
assert all(motion(attained, r, r) * (3 - r**2) >= 0 for r in roots)
print("repaired: with a minimum at 3 the same flow moves towards it from either side")
