"""cohen.critical-point-route: missing hypothesis (iterates stay bounded; almost every start).

Statement (Cohen's slides, "Approach: Convergence via Critical Points"): if there are no poor local minima and all
saddle points are strict, then gradient descent converges to the global minimum.

Counterexample. With u = x^2: F(x) = (u^2 + 2u)/(1 + u^2). F' = 2x N(u)/(1 + u^2)^2 with N = 2 + 2u - 2u^2: critical
points are x = 0, the only minimum, F(0) = 0 < F elsewhere, and the two zeros of N, maxima. There is no other.
A second one, of which only one start fails: F = (1 - vw)^2/2 of two scalar layers, minima vw = 1, one strict saddle.

Why it decides. For u >= 4 write u = 4 + r: all coefficients of N in r are negative, so F' < 0 for every x >= 2, and a
step of descent of any size leads from x >= 2 to a larger x; F > 1 there, since (u^2 + 2u) - (1 + u^2) = 2u - 1 > 0.
So descent from every x >= 2, a set of infinite measure, stays above F = 1. In the net the line w = -v is kept by
descent, and on it F >= 1/2. Integer coefficients: exact.

What saves it. Iterates that stay bounded, a step below 1/L along them, and almost every start (the line has measure
zero): then descent converges to a critical point, which is no strict saddle.
"""

from fractions import Fraction as Q

TOP, LOW = (1, 2, 0), (1, 0, 1)  # u^2 + 2u and u^2 + 1, highest power first


def at(poly, u):
    """A polynomial of degree two at u."""
    return poly[0] * u**2 + poly[1] * u + poly[2]


# N = top' low - top low', by coefficients: (a, b, c) and (d, e, f) give (ae - bd) u^2 + 2(af - cd) u + (bf - ce)
(a, b, c), (d, e, f) = TOP, LOW
N = (a * e - b * d, 2 * (a * f - c * d), b * f - c * e)
assert N == (-2, 2, 2)
shifted = (N[0], 8 * N[0] + N[1], at(N, 4))  # N in powers of r = u - 4
assert all(each < 0 for each in shifted)
assert at(N, 1) > 0 > at(N, 2)  # one positive zero, F' from + to -: a maximum
assert at(TOP, 4) > at(LOW, 4)  # F > 1 at x = 2, and 2u - 1 grows
for eta in (Q(1, 100), Q(1, 10), Q(1)):
    x = Q(2)
    for _ in range(3):
        u = x * x
        x, before = x - eta * 2 * x * at(N, u) / at(LOW, u) ** 2, x
        x = Q(round(x * 10**6), 10**6)  # keeps numbers short; the sign is that of N
        assert x > before
v, w = Q(1), Q(-1)
for _ in range(4):
    rest = 1 - v * w
    v, w = v + Q(1, 4) * rest * w, w + Q(1, 4) * rest * v
    assert w == -v
    assert (1 - v * w) ** 2 / 2 >= Q(1, 2)
print("refuted: from every x >= 2, for every step, descent escapes to infinity at F > 1; the minimum is 0")
print("and from w = -v it stays on the stable manifold of the strict saddle at 0")
