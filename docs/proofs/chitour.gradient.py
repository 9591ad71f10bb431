"""chitour.gradient: misprint (a constant and transpositions).

Statement (slides, "First reductions"): F(W) := |Y - W X|^2, W = W_(H+1) ... W_1, "Gradient Descent associated
with F: dW/dt = -grad F(W)"; X = Id, "(Pi W)_i^j = W_j ... W_i, M = Y - (Pi W)_1^(H+1). Gradient dynamics,
1 <= j <= H + 1: dW_j/dt = (Pi W)_(j+1)^(H+1) M (Pi W)_1^(j-1)."

Counterexample. Widths 1, H = 1: Y = 3, W_1 = 2, W_2 = 1/2. M = 2, the printed field is
(W_2 M, M W_1) = (1, 4), and -grad F = (2, 8). Widths 2, H = 1: Y = diag(2, 1), W_1 = ((1, 1), (0, 1)),
W_2 = ((1, 0), (1, 1)): the printed dW_1/dt = W_2 M = ((1, -1), (0, -2)) is no multiple of
-dF/dW_1 = ((0, -4), (-2, -2)).

Why it decides. -grad F is computed below from F itself, as a polynomial. All widths are d_x = d_y, Y is
diagonal and positive, all matrices of full rank: these are the slides' reductions. For other widths the
printed products do not even have a common shape.

What saves it. Transposes and a factor 2 (or F/2 for F): dW_j/dt = 2 (Pi W)_(j+1)^(H+1)^T M (Pi W)_1^(j-1)^T.
The substance stands: the orbits are the same at half the speed, and critical points, invariants and
convergence do not depend on the factor.
"""

from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx


def field(F, point):
    """-grad F at the point."""
    return [-F.derivative(k)(*point) for k in range(len(point))]


w1, w2 = fmpq_mpoly_ctx.get(("w1", "w2")).gens()
point = (fmpq(2), fmpq(1, 2))
M = 3 - point[0] * point[1]
printed = [point[1] * M, M * point[0]]
assert printed == [1, 4]
assert field((3 - w2 * w1) ** 2, point) == [2, 8]
print("refuted as printed, widths 1: the printed field is (1, 4), -grad F is (2, 8)")

w = fmpq_mpoly_ctx.get(tuple("abcdefgh")).gens()
Y = fmpq_mat([[2, 0], [0, 1]])
F = sum((Y[i, j] - w[4 + 2 * i] * w[j] - w[5 + 2 * i] * w[2 + j]) ** 2 for i in range(2) for j in range(2))
W1, W2 = fmpq_mat([[1, 1], [0, 1]]), fmpq_mat([[1, 0], [1, 1]])
M = Y - W2 * W1
true = field(F, W1.entries() + W2.entries())
printed = (W2 * M).entries() + (M * W1).entries()
assert W1.rank() == W2.rank() == Y.rank() == 2
assert printed[:4] == [1, -1, 0, -2]
assert true[:4] == [0, -4, -2, -2]
assert any(printed[i] * true[j] != printed[j] * true[i] for i in range(4) for j in range(i))
print("refuted as printed, widths 2: without transposes dW_1/dt is no multiple of -dF/dW_1")
repaired = (W2.transpose() * M).entries() + (M * W1.transpose()).entries()
assert [2 * entry for entry in repaired] == true
assert field(F / 2, W1.entries() + W2.entries()) == repaired
print("repaired: with transposes and a factor 2 (or F/2) the two fields are equal")
