"""notes.min-norm: misprint (an inverse for a pseudoinverse).

Statement (lecture notes, "Implicit regularization"; "Suppose overparametrization that is N < d"): "For square
loss and linear networks GD converges to the same solution of regularization with lambda -> 0 which is the
pseudoinverse solution W = Y X^T (X X^T)^-1 = Y X^+ which is the minimum norm solution. The condition for this
to happen is that the initial condition for GD is W^0 ~ 0." The examples are the columns of X, as the notes'
(-Y + W X) X^T = 0 has them: X X^T is d by d.

Counterexample. d = 2, N = 1: x = (3, 4), y = 5. X X^T = ((9, 12), (12, 16)) has determinant 0 and no inverse.

Why it decides. X X^T has the rank of X, at most N < d: under the notes' own hypothesis the printed formula
never exists. Where it does exist (the examples span R^d) the least-squares solution is unique and W^0 plays
no part.

What saves it. The pseudoinverse of X X^T in the place of the inverse, W = Y X^T (X X^T)^+ = Y X^+, which for
independent examples is Y (X^T X)^-1 X^T. The substance stands and is shown on the example: the regularised
solution Y X^T (X X^T + lambda I)^-1 = 5 (3, 4)/(25 + lambda) tends to Y X^+ = (3/5, 4/5), descent from
W^0 = 0 goes there, and no solution is shorter. From another start the part of W^0 beside the span of the
examples stays.
"""

from fractions import Fraction

x, y = (3, 4), 5
G = [[a * b for b in x] for a in x]
assert G[0][0] * G[1][1] - G[0][1] * G[1][0] == 0
print("refuted as printed: det X X^T = 0 for N = 1 < d = 2, the printed inverse does not exist")

norm2 = sum(a * a for a in x)  # X^T X
limit = [Fraction(y * a, norm2) for a in x]  # Y (X^T X)^-1 X^T
pinv = [[Fraction(g, norm2**2) for g in row] for row in G]  # (X X^T)^+


def times(A, B):
    return [[sum(A[i][k] * B[k][j] for k in range(2)) for j in range(2)] for i in range(2)]


GP = times(G, pinv)  # Penrose's four conditions
assert times(GP, G) == G
assert times(times(pinv, G), pinv) == pinv
assert [list(row) for row in zip(*GP, strict=True)] == GP == times(pinv, G)
assert limit == [sum(y * x[i] * pinv[i][j] for i in range(2)) for j in range(2)]
for decay in (Fraction(1), Fraction(1, 10**6)):  # W (X X^T + lambda I) = Y X^T, and W -> Y X^+ like lambda
    ridge = [y * a / (norm2 + decay) for a in x]
    assert all(sum(ridge[i] * G[i][j] for i in range(2)) + decay * ridge[j] == y * x[j] for j in range(2))
    assert all(0 < limit[j] - ridge[j] < decay * limit[j] for j in range(2))


def descent(w, steps, rate=Fraction(1, 100)):
    for _ in range(steps):
        E = y - sum(a * b for a, b in zip(w, x, strict=True))
        w = [a + 2 * rate * E * b for a, b in zip(w, x, strict=True)]
    return w


beside = [Fraction(4, 10), Fraction(-3, 10)]  # orthogonal to x
end, other = descent([Fraction(0)] * 2, 40), descent(beside, 40)
assert all(0 < limit[j] - end[j] < Fraction(1, 10**11) for j in range(2))
assert [a - b for a, b in zip(other, end, strict=True)] == beside
print("repaired by (X X^T)^+: ridge as lambda -> 0 and descent from 0 tend to Y X^+ = (3/5, 4/5)")
