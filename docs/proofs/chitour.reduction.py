"""chitour.reduction: missing hypothesis (X X^T = 1, for the dynamics).

Statement (Chitour's slides, "First reductions", before the landscape and the gradient dynamics): "Up to SVD and
computations, can assume X = Id, Y = (D_Y 0)", X and Y of full rank.

Counterexample. One input X = 2, one hidden unit, Y = 2: F(w1, w2) = (2 - 2 w2 w1)^2. The reduction is v1 = 2 w1,
v2 = w2, with F = (2 - v2 v1)^2: X = 1. Start at w = (1, 3), v = (2, 3).

Why it decides. Along w' = -grad F the quantity w2^2 - w1^2 is conserved, and its derivative is asserted to be 0. Along
the reduced flow v' = -grad F, carried over to w = (v1/2, v2), its derivative is not 0: the two flows of one start part
at once. Derivatives are those of polynomials, at rational points: exact.

What saves it. With X = 1 the derivative is 0 for both; in general X X^T = 1 makes the change of the weights orthogonal,
under which gradient flow is invariant. For the landscape no hypothesis is missing: the critical points, where both
fields vanish, are the same.
"""

from fractions import Fraction as Q

X, Y = Q(2), Q(2)


def field(x, w1, w2):
    """-grad of (Y - x w2 w1)^2."""
    rest = Y - x * w2 * w1
    return (2 * rest * x * w2, 2 * rest * x * w1)


def change(w1, w2, motion):
    """The derivative of w2^2 - w1^2 along a motion."""
    return 2 * w2 * motion[1] - 2 * w1 * motion[0]


w = (Q(1), Q(3))
own = field(X, *w)
reduced = field(Q(1), X * w[0], w[1])  # v1 = X w1, v2 = w2, and X = 1
carried = (reduced[0] / X, reduced[1])

assert change(*w, own) == 0
assert change(*w, carried) != 0
assert own != carried
zero = (Q(1, 2), Q(2))
assert field(X, *zero) == (0, 0) == field(Q(1), X * zero[0], zero[1])  # the critical points are the same
print("refuted: the reduced flow, carried over, does not conserve w2^2 - w1^2; the given flow does")
print("what holds: both rest at (1/2, 2), where F = 0")
