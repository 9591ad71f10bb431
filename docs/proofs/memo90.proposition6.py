"""memo90.proposition6: false.

Statement (memo 90, section 13): "The linearized dynamics for the exponential loss is hyperbolic for large, finite
t, describing the dynamics of each layer weight matrix near a zero minimum of the loss. [...] The flow converges
to the local maximum margin solution asymptotically, independently of the trajectory."

Counterexample. f = W_2 W_1 x, two hidden units, inputs (1, 0) and (0, 1) of label 1. At W_2 = (s, 0),
W_1 = ((s, s), (0, 0)) both margins are s^2. The flow keeps this set (with s growing): it is a path to L = 0, on
which t is a function of s. With weights e^(-s^2) taken out, the Hessian of L applied to
dW_1 = ((0, 0), (1, -1)), dW_2 = 0 is zero, whatever s.

Why it decides. A zero eigenvalue at every finite t: the linearised dynamics is not hyperbolic. (Where the flow
goes, and that it depends on the start, is in memo90.theorem3 and memo90.proposition5.)

What saves it. Two linear layers of h units on data of rank r have (h - 1)(r - 1) + h (d - r) zero eigenvalues
at least; one layer on data that span the space has none.
"""

from fractions import Fraction as Q
from itertools import product

X = ((1, 0), (0, 1))


def hessian(W1, W2):
    """The Hessian of sum e^(-f_n) over e^(-s^2), all margins being s^2: sum of grad f grad f' - Hess f; W_1 rows,
    W_2."""
    total = [[Q(0)] * 6 for _ in range(6)]
    for x in X:
        grad = [W2[j] * x[i] for j in (0, 1) for i in (0, 1)]
        grad += [sum(W1[j][i] * x[i] for i in (0, 1)) for j in (0, 1)]
        for a, b in product(range(6), repeat=2):
            total[a][b] += grad[a] * grad[b]
        for j, i in product((0, 1), repeat=2):
            total[2 * j + i][4 + j] -= x[i]
            total[4 + j][2 * j + i] -= x[i]
    return total


for s in (Q(1), Q(5), Q(100)):
    H = hessian(((s, s), (Q(0), Q(0))), (s, Q(0)))
    v = (0, 0, 1, -1, 0, 0)
    assert all(sum(row[i] * v[i] for i in range(6)) == 0 for row in H)
    assert any(entry != 0 for row in H for entry in row)
print("refuted: the Hessian has a zero eigenvalue at every point of a path to L = 0")
print("holds of one layer on data that span the space")
