"""memo90.gauss-newton: misprint (a constant: N + 1 for N, or "non-zero" left out).

Statement (memo 90, section 12.3, with eq. 28): "For both the exponential losses and the square loss on linear
networks, the Hessian is positive semi-definite everywhere [...] with the number of distinct eigenvalues
bounded by N - the number of training examples [...] Interestingly, for the square loss at w* the Hessian has
also at most N distinct eigenvalues, since we have H = 2 sum_n (grad f grad f - E_n grad^2 f), where
E_n = y_n - f(W; x_n) vanishes at a zero minimum." The nets are over-parametrised: D weights, D > N.

Counterexample. f = w2 sigma(w1 x), sigma the identity or ReLU (the unit is active), N = 1, x = y = 1, D = 2,
at the zero w = (1, 1) of L = (1 - f)^2. The Hessian 2 ((1, 1), (1, 1)) has the two eigenvalues 0 and 4.
Linear: f = w.x in three dimensions, x_1 = (1, 0, 0), x_2 = (0, 2, 0): eigenvalues 0, 2 and 8 for N = 2.

Why it decides. 2 > 1 and 3 > 2. In general a sum of N outer products has rank at most N < D, so zero is one
more eigenvalue, and with N generic examples there are N + 1.

What saves it. At most N eigenvalues that are not zero (N C with C outputs): the rank is at most N. The
formula of the Hessian is right, and shown to be on the example, as is its semidefiniteness.
"""

from flint import fmpq_mat, fmpq_mpoly_ctx


def hessian(p, point):
    n = range(len(point))
    return fmpq_mat([[p.derivative(i).derivative(j)(*point) for j in n] for i in n])


def distinct(H):
    """The number of distinct eigenvalues: the degree of the square-free characteristic polynomial."""
    return sum(factor.degree() for factor, _ in H.charpoly().factor()[1])


w1, w2 = fmpq_mpoly_ctx.get(("w1", "w2")).gens()
f, w = w2 * w1, (1, 1)
loss = (1 - f) ** 2
H = hessian(loss, w)
assert loss(*w) == 0
assert w[0] > 0
g = fmpq_mat([[f.derivative(i)(*w)] for i in range(2)])
assert 2 * g * g.transpose() == H == fmpq_mat([[2, 2], [2, 2]])
assert distinct(H) == 2 > 1
print("refuted as printed: N = 1, D = 2, distinct eigenvalues of the Hessian:", distinct(H))
assert H.rank() == 1
u1, u2, u3 = fmpq_mpoly_ctx.get(("u1", "u2", "u3")).gens()
K = hessian((1 - u1) ** 2 + (1 - 2 * u2) ** 2, (0, 0, 0))
assert distinct(K) == 3 > 2
print("refuted as printed: N = 2, D = 3, one linear layer, distinct eigenvalues:", distinct(K))
assert K.rank() == 2
print("repaired: the ranks are 1 and 2, at most N eigenvalues are not zero")
