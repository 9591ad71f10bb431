"""memo90.cross-entropy: missing hypothesis (one layer).

Statement (memo 90, section 14, remarks): "The equivalent assumption of non-linear separability for the
cross-entropy loss is that there exists a W* such that f_{y_n}(x_n; W*) - f_c(x_n; W*) > 0 for all n, c != y_n.
Using the property of rectified networks W'grad f(x; W) = f(x; W), we immediately get that W*'grad L < 0 for any
value of W."

Counterexample. Two linear layers, one hidden unit, two classes: f_c(x) = u_c v x, one example x = 1 of class 0,
W* = (v, u_0, u_1) = (1, 1, -1), and W = -W*.

Why it decides. W* separates: f_0 - f_1 = 2. grad L = p grad(f_1 - f_0) with p > 0, the probability of class 1. At
W the derivative of f_1 - f_0 along W* is 4: so W*'grad L = 4 p > 0.

What saves it. With one layer, f_c = u_c x, the derivative of f_1 - f_0 along W* is its value at W*, negative at
every W. With K layers it is so along W itself, where W separates: K (f_1 - f_0).
"""

from fractions import Fraction as Q


def gap(v, u0, u1):
    """f_1 - f_0 at x = 1."""
    return u1 * v - u0 * v


def along(at, direction):
    """The derivative of f_1 - f_0 at a point along a direction: the linear part of a quadratic."""
    moved = [gap(*(a + s * b for a, b in zip(at, direction, strict=True))) for s in (1, -1)]
    return Q(moved[0] - moved[1], 2)


star = [Q(1), Q(1), Q(-1)]
W = [-v for v in star]
assert gap(*star) < 0
assert along(W, star) > 0
print("refuted: W* separates, and along it f_1 - f_0 grows by", along(W, star), "at W = -W*")
assert along([0, 0, 0], star) == 0
assert along(star, star) == 2 * gap(*star) < 0
print("holds along W itself, where W separates:", along(star, star), "for K = 2; at W = 0 the gradient is 0")
