"""memo90.lemma1: missing hypothesis.

Statement (memo 90, section 5.1): "Linearization of the nonlinear dynamics of the weight matrices W_k at each layer
[...] yields a system of equations [...] with the following properties: 1. each W_k converges to the minimum norm
solution. 2. The convergence is independent of initial conditions" (exponential loss, any small decay).

Counterexample. f = W_2 W_1 x, two hidden units, one input x = 1 of label 1, L = e^(-f) + l/2 |W|^2. At W_1 = s (1, 0),
W_2 = s (1, 0) with e^(-s^2) = l the gradient is 0: l s - e^(-s^2) s in each layer. The Hessian over l is
grad f grad f' - Hess f + 1, and takes dW_1 = (0, 1), dW_2 = (0, 1) to 0.

Why it decides. The linearised flow leaves that component of the start where it is: the limit of W_k depends on the
initial conditions, for every small decay l.

What saves it. One layer, or one hidden unit a layer; or what the net computes: along the kernel f does not change.
"""

from fractions import Fraction as Q

v = (0, 1, 0, 1)
for s in (Q(1), Q(2), Q(7, 2)):
    W1, W2 = (s, Q(0)), (s, Q(0))
    grad = (*W2, *W1)
    # in units of l = e^(-s^2): decay l W, pull e^(-f) grad f
    assert [w - g for w, g in zip((*W1, *W2), grad, strict=True)] == [0] * 4
    Hess_f = [[int(abs(i - j) == 2) for j in range(4)] for i in range(4)]
    H = [[grad[i] * grad[j] - Hess_f[i][j] + int(i == j) for j in range(4)] for i in range(4)]
    assert [sum(H[i][j] * v[j] for j in range(4)) for i in range(4)] == [0] * 4
    assert sum(a * b for a, b in zip(grad, v, strict=True)) == 0
print("refuted: the Hessian has a zero eigenvalue at the equilibrium, and the start stays there")
print("holds of the output: its derivative along the kernel is 0")
