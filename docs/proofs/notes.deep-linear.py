"""notes.deep-linear: false (two sentences: hyperbolic; independent of initial conditions).

Statement (lecture notes, "Norm control ..."): "The regularization min is hyperbolic and independent of initial
conditions ... A similar situation holds for multilayer linear networks."

Counterexample, twice, decay 3/4 and 1/8, one example x = y = 1.
(1) Two layers, two hidden units: L = (1 - b.a)^2/2 + (3/8)(|a|^2 + |b|^2), a = W_1, b = W_2. At a = b = (1/2, 0) the
gradient is zero (|a|^2 = 1 - 3/4), and the Hessian, 4 x 4, has the zero eigenvector (0, 1/2; 0, 1/2): rotating both.
Hence not hyperbolic. (2) Three layers, one unit each, decay 1/8: L = (1 - abc)^2/2 + (a^2 + b^2 + c^2)/16. W = 0 is an
equilibrium with Hessian 1/8 I, a strict minimum with L = 1/2; at a = b = c = 1 L = 3/16 is smaller. So small starts end
at 0, and some others do not: the minimum depends on the start, and so does the product.

Why it decides. Both are polynomials with rational coefficients; what is asserted below is exact.

What saves it. Zeros of the Hessian at a regularised minimum are the rotations; two layers have no minimum but the
global ones, with one product.
"""

from fractions import Fraction as Q


def hessian(f, at):
    """Second derivatives of a polynomial of degree six or less, by interpolation on seven points a variable: exact."""
    # f(at + s u) has degree <= 6 in s; its second derivative at 0 from the values at s = -3 .. 3
    weights = [Q(2, 180), Q(-27, 180), Q(270, 180), Q(-490, 180), Q(270, 180), Q(-27, 180), Q(2, 180)]

    def along(u):
        return sum(
            w * f([p + s * v for p, v in zip(at, u, strict=True)])
            for w, s in zip(weights, range(-3, 4), strict=True)
        )

    n = len(at)
    e = [[Q(int(i == j)) for j in range(n)] for i in range(n)]
    plus = [[along([x + y for x, y in zip(e[i], e[j], strict=True)]) for j in range(n)] for i in range(n)]
    own = [along(e[i]) for i in range(n)]
    return [[own[i] if i == j else (plus[i][j] - own[i] - own[j]) / 2 for j in range(n)] for i in range(n)]


def two(w):
    """(1): w = (a_1, a_2, b_1, b_2)."""
    return (1 - w[0] * w[2] - w[1] * w[3]) ** 2 / 2 + Q(3, 8) * sum(x * x for x in w)


def three(w):
    """(2): w = (a, b, c)."""
    return (1 - w[0] * w[1] * w[2]) ** 2 / 2 + sum(x * x for x in w) / 16


at = [Q(1, 2), Q(0), Q(1, 2), Q(0)]
rest = 1 - at[0] * at[2] - at[1] * at[3]
assert all(-rest * at[(i + 2) % 4] + Q(3, 4) * at[i] == 0 for i in range(4))  # the gradient
H, turn = hessian(two, at), [Q(0), Q(1, 2), Q(0), Q(1, 2)]
assert all(sum(h * t for h, t in zip(row, turn, strict=True)) == 0 for row in H)  # a zero eigenvector
assert hessian(three, [Q(0)] * 3) == [[Q(int(i == j), 8) for j in range(3)] for i in range(3)]
assert three([Q(1)] * 3) == Q(3, 16) < three([Q(0)] * 3) == Q(1, 2)
print("refuted: the Hessian at a regularised minimum has the zero eigenvector of a rotation")
print("refuted: W = 0 is a strict minimum with L = 1/2, and L = 3/16 at a = b = c = 1")
