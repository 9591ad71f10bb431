"""memo90.conjugacy-classes: missing hypothesis (hyperbolic, or symmetric).

Statement (memo 90, section 10, 3., and section 5.2): "for linearized systems with flows phi_t(x) = e^(tA) x and
psi_t(y) = e^(tB) y the topological conjugacy relaxes the statement of similarity of A and B to the requirement
that the dimensions of stable and unstable spaces of A are equal to those of B, i.e. only the signs of eigenvalues
have to match." "These systems are topologically conjugate if and only if the dimensions of stable (negative
eigenvalues) and unstable (positive eigenvalues) subspaces of X and X' match."

Counterexample. A = ((0, 1), (0, 0)) and B = 0. Both have the characteristic polynomial x^2: no stable and no
unstable directions. e^(tA) = 1 + tA, since A^2 = 0.

Why it decides. A conjugacy h has h(e^(tA) x) = e^(tB) h(x) = h(x). It is injective, so e^(tA) x = x for all x and
t. But e^A (0, 1) = (1, 1).

What saves it. Without eigenvalues on the imaginary axis the dimensions decide; in general the parts on the axis
have to be linearly conjugate (Kuiper and Ladis 1973). For symmetric matrices of one size that is given: both
flows rest on their kernels, of equal dimension.
"""

from fractions import Fraction as Q

A = ((0, 1), (0, 0))
B = ((0, 0), (0, 0))


def product(M, N):
    return tuple(tuple(sum(M[i][k] * N[k][j] for k in (0, 1)) for j in (0, 1)) for i in (0, 1))


def flow(M, t, x):
    """e^(tM) x = x + tMx for M^2 = 0."""
    assert product(M, M) == ((0, 0), (0, 0))
    return tuple(x[i] + t * sum(M[i][j] * x[j] for j in (0, 1)) for i in (0, 1))


for M in (A, B):
    trace, determinant = M[0][0] + M[1][1], M[0][0] * M[1][1] - M[0][1] * M[1][0]
    assert (trace, determinant) == (0, 0)  # both eigenvalues are zero
x = (Q(0), Q(1))
assert flow(B, Q(1), x) == x
assert flow(A, Q(1), x) != x
print("refuted: no stable or unstable directions in either; e^B rests and e^A (0, 1) =", *flow(A, Q(1), x))
# symmetric and nilpotent is zero: trace(S^2) is the sum of the squares of all entries
a, b, d = Q(3), Q(5), Q(-3)
square = product(((a, b), (b, d)), ((a, b), (b, d)))
assert square[0][0] + square[1][1] == a**2 + 2 * b**2 + d**2 > 0
print("repaired: a symmetric matrix with both eigenvalues zero is zero, and the flows are the same")
