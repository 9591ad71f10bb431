"""chitour.critical-values: misprint (a factor 1/2).

Statement (slides, "Landscape of Deep Linear Networks"): F(W) = |Y - W_(H+1) ... W_1|^2 (X = Id), "Assume
Y = (D_Y 0) has two by two distinct eigenvalues. i) CrV(F) = (finite) set of half sums of squares of any
subset of singular values of Y", CrV(F) being "{F(W), W in Crit(F)}" and Crit(F) the zeros of grad F.

Counterexample. H = 1, all widths 2, Y = diag(2, 1), W = 0. The gradient is zero there, and F(0) = 4 + 1 = 5.
The half sums of squares are 0, 1/2, 2, 5/2.

Why it decides. 5 is a critical value and not in the printed set: the largest half sum is |Y|^2/2, while W = 0
is critical for every H >= 1 with F(0) = |Y|^2. All widths are d_y = d_x = 2, D_Y > 0 with distinct entries.

What saves it. Sums for half sums, or |Y - W|^2/2 for F: of the flow and of its critical points nothing
depends on the factor (the same one is missing in chitour.gradient). The substance stands: below the point
that learns any subset of the singular values is critical and its value is the sum of squares of the others,
and in widths 1 there are no other critical values: (w_2 M, M w_1) = 0 for M = y - w_2 w_1 only if M = 0 or
w_1 = w_2 = 0, where F is 0 or y^2.
"""

from itertools import product

from flint import fmpq, fmpq_mpoly_ctx

entries = fmpq_mpoly_ctx.get(tuple("abcdefgh")).gens()
W1, W2 = (entries[0:2], entries[2:4]), (entries[4:6], entries[6:8])
sigma = (2, 1)
F = sum(
    (sigma[i] * int(i == j) - W2[i][0] * W1[0][j] - W2[i][1] * W1[1][j]) ** 2
    for i in range(2)
    for j in range(2)
)


def critical(point):
    return all(F.derivative(k)(*point) == 0 for k in range(8))


subsets = list(product((0, 1), repeat=2))
squares = {sum(s**2 for s, chosen in zip(sigma, subset, strict=True) if chosen) for subset in subsets}
half = {fmpq(value, 2) for value in squares}
zero = (0,) * 8
assert critical(zero)
assert F(*zero) == 5
assert 5 not in half
print("refuted as printed: W = 0 is critical with F = 5; the half sums of squares are 0, 1/2, 2, 5/2")

values = set()
for (
    first,
    second,
) in subsets:  # 1 where the singular value is learnt: W_1 = diag(2, 0) and W_2 = diag(1, 0), say
    point = (sigma[0] * first, 0, 0, sigma[1] * second, first, 0, 0, second)
    assert critical(point)
    values.add(int(F(*point)))
assert values == squares == {0, 1, 4, 5}
print("repaired: the sums of squares 0, 1, 4, 5 are critical values of F")
