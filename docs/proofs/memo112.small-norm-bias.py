"""memo112.small-norm-bias: false (under the square loss it is the least norm with equality).

Statement (memo 112, section 3.2): "The question is why the dynamics should be biased towards min rho provided that
rho f_i >= 1, for all i."

Counterexample. One linear layer, x = (1, 0) and (3, 1), both labelled 1. Gradient flow of the square loss from zero
ends at the interpolant of least norm, w = (1, -2), rho^2 = 5. But w = (1, 0) has outputs 1 and 3, and rho = 1.

Why it decides. Both have rho f_i >= 1 for all i, and the flow ends at the longer one: -grad L is a combination of the
x_n, so w stays in their span, where the interpolant is unique.

What saves it. Equality: among all w with rho f_i = y_i that of least norm is in the span of the x_n.
"""

from fractions import Fraction as Q

X, labels = ((Q(1), Q(0)), (Q(3), Q(1))), (Q(1), Q(1))


def outputs(w):
    """x_n . w."""
    return [sum(a * b for a, b in zip(x, w, strict=True)) for x in X]


# the solution of X w = labels, in the span of the two x_n, which is the plane
determinant = X[0][0] * X[1][1] - X[0][1] * X[1][0]
w = (
    (labels[0] * X[1][1] - labels[1] * X[0][1]) / determinant,
    (X[0][0] * labels[1] - X[1][0] * labels[0]) / determinant,
)
shorter = (Q(1), Q(0))
assert outputs(w) == list(labels)
assert min(outputs(shorter)) >= 1
assert shorter[0] ** 2 + shorter[1] ** 2 < w[0] ** 2 + w[1] ** 2
print(f"refuted: the flow ends at ({w[0]}, {w[1]}), and (1, 0) is shorter and has outputs of at least 1")
assert outputs(shorter) != list(labels)
print("repaired: the shorter one is no interpolant; with equality the flow's end is the only one in the span")
