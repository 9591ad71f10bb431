"""notes.no-equilibrium: false (an isolated equilibrium of an overparametrised net).

Statement (lecture notes, "Deep nets, square loss"): "As for linear networks there is no finite equilibrium point
because H is in general degenerate … If N < #W there is degeneracy." Finite equilibria there are (zeros of the loss);
the statement is read as: none is isolated.

Counterexample. f(x) = w2 w1 x, one example x = y = 1: L(w1, w2) = (1 - w2 w1)^2/2, N = 1 < 2 weights. W = 0.

Why it decides. The gradient, -(1 - w2 w1)(w2, w1), vanishes at 0. The Hessian there is [[0, -1], [-1, 0]], with
determinant -1, not 0: by the inverse function theorem no other equilibrium is near. Here even without it: the
gradient is zero only where w2 w1 = 1 or w1 = w2 = 0.

What saves it. At a zero of the loss H = sum df df^T has rank at most N, so that it is degenerate if N is less than the
number of weights; here [[w2^2, 1], [1, w1^2]] with w2 w1 = 1 has determinant 0.
"""

from fractions import Fraction as Q


def gradient(w1, w2):
    """The derivatives of (1 - w2 w1)^2/2."""
    rest = 1 - w2 * w1
    return (-rest * w2, -rest * w1)


def hessian(w1, w2):
    """Its second derivatives, from d rest/dw1 = -w2 and d rest/dw2 = -w1."""
    rest = 1 - w2 * w1
    return ((w2 * w2, w1 * w2 - rest), (w1 * w2 - rest, w1 * w1))


def determinant(H):
    """Of a 2 by 2 matrix."""
    return H[0][0] * H[1][1] - H[0][1] * H[1][0]


# the formulas, against exact difference quotients of a polynomial of degree four in (w1, w2)
a, b, h = Q(2, 3), Q(-5, 7), Q(1, 10)
for i, (da, db) in enumerate(((h, 0), (0, h))):
    up, down = gradient(a + da, b + db), gradient(a - da, b - db)
    wide_up, wide_down = gradient(a + 2 * da, b + 2 * db), gradient(a - 2 * da, b - 2 * db)
    for j in range(2):  # a five-point quotient is exact for degree four
        assert (8 * (up[j] - down[j]) - (wide_up[j] - wide_down[j])) / (12 * h) == hessian(a, b)[i][j]

assert gradient(Q(0), Q(0)) == (0, 0)
assert determinant(hessian(Q(0), Q(0))) == -1  # an isolated equilibrium, with fewer examples than weights
assert gradient(Q(2), Q(1, 2)) == (0, 0)
assert determinant(hessian(Q(2), Q(1, 2))) == 0  # at a zero of the loss it is degenerate
print("refuted: at W = 0 the Hessian has determinant -1, the equilibrium is isolated")
print("what holds: at the zero of the loss (2, 1/2) it has determinant 0")
