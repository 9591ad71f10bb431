"""chitour.landscape: missing hypothesis (not both H = 1 and d_x = d_y at r = 0).

Statement (slides, "Landscape of Deep Linear Networks"): F(W) = |Y - W_(H+1) ... W_1|^2 (X = Id), "Assume
Y = (D_Y 0) has two by two distinct eigenvalues. [...] iii) For 0 <= r <= d_y - 1, Crit_r(F) algebraic variety
of dim. > 0 made of saddle points", with "Crit_r(F) = {W in Crit(F), r(W) = r}", r(W) the rank of W_(H+1) ...
W_2.

Counterexample. H = 1, all widths 1, Y = 3: F = (3 - w_2 w_1)^2. r = 0 says w_2 = 0; there dF/dw_2 = -6 w_1
and dF/dw_1 = 0, so that Crit_0(F) = {(0, 0)}: one point, of dimension 0. The same with widths 2 and
Y = diag(2, 1), whose singular values are distinct: at W_2 = 0 the gradient is -2 Y W_1^T, zero only at
W_1 = 0.

Why it decides. The widths satisfy the slides' assumption that the least of them is d_y, Y has full rank, and
r = 0 is in the range 0 <= r <= d_y - 1. That W_2 = 0 and r = 0 are the same for H = 1 is the definition of
r(W).

What saves it. One exception: dimension > 0 holds for r >= 1, for H >= 2, and for d_x > d_y. Below, for r = 0:
H = 1, d_x = 2, d_y = 1 has the line W_1 = (0, t), W_2 = 0, and H = 2 with widths 1 the line w_1 = w_3 = 0,
w_2 = t. The rest of iii) stands: the origin of the counterexample is a saddle, with the Hessian ((0, -6),
(-6, 0)), eigenvalues +-6.
"""

from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx

w1, w2, w3, t = fmpq_mpoly_ctx.get(("w1", "w2", "w3", "t")).gens()
F = (3 - w2 * w1) ** 2
assert F.derivative(0).compose(w1, 0 * t, w3, t) == 0
assert F.derivative(1).compose(w1, 0 * t, w3, t) == -6 * w1
print("refuted: H = 1, widths 1: Crit_0 is w_2 = 0 with -6 w_1 = 0, the origin alone, of dimension 0")
H = fmpq_mat([[F.derivative(i).derivative(j)(0, 0, 0, 0) for j in range(2)] for i in range(2)])
assert fmpq_mat([[0, -6], [-6, 0]]) == H
assert H * fmpq_mat([[1], [1]]) == fmpq_mat([[-6], [-6]])  # a saddle, as printed
assert H * fmpq_mat([[1], [-1]]) == fmpq_mat([[6], [-6]])

w = fmpq_mpoly_ctx.get(tuple("abcdefgh")).gens()
Y = ((2, 0), (0, 1))
F = sum((Y[i][j] - w[4 + 2 * i] * w[j] - w[5 + 2 * i] * w[2 + j]) ** 2 for i in range(2) for j in range(2))
first, nothing = w[:4], [0 * w[0]] * 4
by_W1 = [F.derivative(k).compose(*first, *nothing) for k in range(4)]
by_W2 = [F.derivative(k).compose(*first, *nothing) for k in range(4, 8)]
assert by_W1 == nothing
assert by_W2 == [-4 * w[0], -4 * w[2], -2 * w[1], -2 * w[3]]
print("refuted: H = 1, widths 2, Y = diag(2, 1): at W_2 = 0 the gradient vanishes for W_1 = 0 only")

F = (3 - w2 * w1) ** 2 + (0 - w2 * w3) ** 2  # d_x = 2, d_y = 1: W_1 = (w1, w3), W_2 = w2, Y = (3, 0)
assert all(F.derivative(k).compose(0 * t, 0 * t, t, t) == 0 for k in range(3))
F = (3 - w3 * w2 * w1) ** 2  # H = 2
assert all(F.derivative(k).compose(0 * t, t, 0 * t, t) == 0 for k in range(3))
assert F(0, fmpq(5), 0, 0) == 9  # r = rank(w_3 w_2) = 0, no minimum
print("holds with d_x > d_y or H = 2: a line of critical points at r = 0")
