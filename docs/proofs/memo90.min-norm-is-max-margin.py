"""memo90.min-norm-is-max-margin: missing hypothesis (under the square loss: no negative multiplier).

Statement (memo 90, section 4): "In all cases, the minimum norm solution is the maximum margin solution." Section
11.1, of the square loss: "in the limit of lambda -> 0 the equilibrium converges to a minimum norm solution for w
and a maximum margin solution for w/|w|."

Counterexample. Labels +1, x_1 = (1, 0), x_2 = (2, 1). The interpolant is w = (1, -1), alone as N = d, and so of
least norm. Its margins are 1 over the norm sqrt(2). The unit vector (1, 0) has the margins 1 and 2.

Why it decides. The margin of w, squared, is 1/2; that of (1, 0) is 1. So w is not of maximum margin.

What saves it. w = alpha_1 x_1 + alpha_2 x_2 has alpha = (3, -1): a negative multiplier. Where there is none the
conditions of Karush, Kuhn and Tucker hold, and w is of maximum margin: for x_2 = (0, 2), orthogonal to x_1,
w = (1, 1/2) = 1 x_1 + 1/4 x_2.
"""

from fractions import Fraction as Q


def interpolant(x1, x2):
    """w with w.x_1 = w.x_2 = 1."""
    det = x1[0] * x2[1] - x1[1] * x2[0]
    return (Q(x2[1] - x1[1], det), Q(x1[0] - x2[0], det))


def dot(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True))


def squared_margin(w, *points):
    return min(dot(w, x) for x in points) ** 2 / Q(dot(w, w))


x1, x2 = (1, 0), (2, 1)
w, other = interpolant(x1, x2), (1, 0)
assert dot(w, x1) == dot(w, x2) == 1
assert squared_margin(w, x1, x2) < squared_margin(other, x1, x2)
print("refuted: squared margins", squared_margin(w, x1, x2), "and", squared_margin(other, x1, x2))
assert w == tuple(3 * a - b for a, b in zip(x1, x2, strict=True))
x2 = (0, 2)
w = interpolant(x1, x2)
assert w == tuple(1 * a + Q(1, 4) * b for a, b in zip(x1, x2, strict=True))
# a unit vector (p, q) of larger margin has p > m and 2q > m, m^2 = 4/5, so p^2 + q^2 > m^2 + m^2/4 = 1
assert squared_margin(w, x1, x2) * (1 + Q(1, 4)) == 1
print(
    "holds for orthogonal points: no unit vector has a larger squared margin than", squared_margin(w, x1, x2)
)
