"""memo90.cross-layer: missing hypothesis (independent inputs).

Statement (memo 90, section 12.3.2, eq. 46), on the Hessian of sum_n e^(-y_n W_2 W_1 x_n) for N examples:
"This expression clearly cannot be written as a sum of outer products of N vectors, hence we expect it to have
in principle more than N distinct eigenvalues. This is indeed generically true in simulations."

Counterexample. d = 1 input, 3 hidden units (D = 6 weights), N = 5 examples x_n = n, y_n = 1;
over-parametrised and separable. There are at most 4 distinct eigenvalues, for all weights, hence fewer than N
for generic ones.

Why it decides. L depends on s = W_2 W_1 alone, L = phi(s), phi(s) = sum e^(-y_n x_n s). With q = phi'(s),
p = phi''(s), J = (W_2, W_1) and P the exchange of the layers, the Hessian is H = p J J^T + q P. P has the
eigenvalues 1 and -1, three times each, so that H - q I has rank at most 3 + 1 and so has H + q I: q and -q
are eigenvalues twice each at least, and two others are left. N does not enter: it is hidden in the numbers p
and q. At W_1 = (1, 2, 0), W_2 = (1, 0, 1) the characteristic polynomial is computed below as a polynomial in
p, q and t, for any data with d = 1. With d inputs of rank r there are at most 3 r + 2 distinct eigenvalues,
whatever N is.

What saves it. Independent inputs: r = N, whence N <= d. With one example, N = 1, the same net has 4 > 1
distinct eigenvalues, as printed. That the cross-layer term is no sum of outer products of N vectors is right.
"""

from itertools import permutations

from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx

W1, W2 = (1, 2, 0), (1, 0, 1)
J = W2 + W1
p, q, t = fmpq_mpoly_ctx.get(("p", "q", "t")).gens()
sixth = range(6)


def hessian(p, q):
    return [[p * (J[i] * J[j]) + q * int(abs(i - j) == 3) for j in sixth] for i in sixth]


def sign(order):
    return (-1) ** sum(order[i] > order[j] for j in sixth for i in range(j))


H, det = hessian(p, q), 0 * t
for order in permutations(sixth):  # Leibniz' formula for det(t - H)
    term = sign(order) + 0 * t
    for i, j in enumerate(order):
        term *= t * int(i == j) - H[i][j]
    det += term
others = (t - q - p * fmpq(9, 2)) * (t + q - p * fmpq(5, 2)) - p**2 * fmpq(45, 4)  # |W_2 +- W_1|^2 / 2
assert det == (t - q) ** 2 * (t + q) ** 2 * others
print("refuted: det(t - H) = (t - q)^2 (t + q)^2 (a quadratic in t): at most 4 distinct eigenvalues, N = 5")

one = fmpq_mat(hessian(1, -1))  # N = 1, x = y = 1: p = e^-s, q = -e^-s, in units of e^-s
distinct = sum(factor.degree() for factor, _ in one.charpoly().factor()[1])
assert distinct == 4 > 1
print("holds for independent inputs: with N = 1 the same net has", distinct, "> 1 distinct eigenvalues")
