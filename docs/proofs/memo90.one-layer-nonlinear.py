"""memo90.one-layer-nonlinear: false (one layer of a deep net); misprint (the mapping of one unit).

Statement (memo 90, section 12.3.2, case 1, exponential loss): "f(W; x_n) = f(w.x_n) [...] the second
derivative is x x^T f''(w.x_n) (44) which is again a simple outer product of a vector. Hence, the Hessian has
again at most N distinct eigenvalues [...] this simple case is also valid for a deep network, if we restrict
ourselves to optimizing only one layer at a time. This extends the results in [1] from piecewise-linear
activations to arbitrary nonlinear smooth ones. In the one-layer case there exists a simple mapping [...] to
an equivalent linear system [...] by setting x'_n e^(-y_n w'.x'_n/2) = x_n sqrt(f'(w.x_n)^2 - f''(w.x_n))
e^(-y_n w.x_n/2)."

Counterexample to the count. One example x = y = 1, two units with the polynomial activation z^2, top weights
1 and 2 held: f = v_1^2 + 2 v_2^2, the first layer v optimised, at v = (1, 1); f = 3 > 0, separated. In units
of e^-3 the Hessian is grad f grad f^T - hess f = ((2, 8), (8, 12)): two distinct eigenvalues for N = 1,
neither of them zero.

Why it decides. The smooth activation puts sigma''(z) of each unit on the diagonal of hess f: its rank is the
number h of units, not one. (The N of the single unit, too, counts only non-zero eigenvalues: see
memo90.gauss-newton.)

Counterexample to the mapping. One unit, f = z^2, x = 1. The left side squared is the linear system's Hessian
for any w'; the right side squared must be that of the unit, (f'^2 - y f'') e^(-y f). At z = 1, y = -1 it is 6
e, printed 2 e; at z = 2, y = 1 it is 14 e^-4, printed 14 e^-2. Both are repaired by y_n before f'' and
f(w.x_n) in the exponent; the root is real only where f'^2 >= y f'', which fails at z = 1/2, y = 1, where no
linear system has the unit's Hessian.

What saves it. N h in the place of N, for the non-zero eigenvalues; N for one unit or piecewise-linear
activations.
"""

from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx, fmpq_poly

v1, v2 = fmpq_mpoly_ctx.get(("v1", "v2")).gens()
f, v = v1**2 + 2 * v2**2, (1, 1)
g = [f.derivative(i)(*v) for i in (0, 1)]
H = fmpq_mat([[g[i] * g[j] - f.derivative(i).derivative(j)(*v) for j in (0, 1)] for i in (0, 1)])
distinct = sum(factor.degree() for factor, _ in H.charpoly().factor()[1])
assert f(*v) > 0
assert fmpq_mat([[2, 8], [8, 12]]) == H
assert distinct == H.rank() == 2 > 1
print("refuted: one example, one layer of two smooth units: 2 distinct eigenvalues, both non-zero; N = 1")

z = fmpq_poly([0, 1])
f = z * z


def unit(y, at):  # (factor, exponent) of the second derivative of e^(-y f): (y^2 f'^2 - y f'') e^(-y f)
    inner = -y * f
    return (inner.derivative() ** 2 + inner.derivative().derivative())(at), inner(at)


def mapped(y, at, repaired):  # (factor, exponent) of the right side of the mapping, squared
    sign, value = (y, f(at)) if repaired else (1, at)
    return f.derivative()(at) ** 2 - sign * f.derivative().derivative()(at), -y * value


for y, at in ((-1, 1), (1, 2)):
    assert mapped(y, at, False) != unit(y, at) == mapped(y, at, True)
assert (unit(-1, 1), mapped(-1, 1, False), unit(1, 2)) == ((6, 1), (2, 1), (14, -4))
assert unit(1, fmpq(1, 2))[0] == -1  # no root, and no linear system: its Hessian is a sum of squares
print("refuted as printed: the mapping of one unit (2 e for 6 e, 14 e^-2 for 14 e^-4); two symbols repair it")
