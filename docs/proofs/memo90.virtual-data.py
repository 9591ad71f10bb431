"""memo90.virtual-data: false.

Statement (memo 90, section 12.3.1; D > N, W_0 a zero of L = sum (y_n - f(W; x_n))^2): "we can find a linear
system with inputs x'_n = grad_W f(W; x_n) at W_0 and weights W' in R^D that satisfies the same linearized
dynamical system as the linearized deep network. Since we can explicitly match the two Hessians, the dynamical
system of a deep network with a square loss around a minimum of gradient descent is *differentiably conjugate*
to a linear network with square loss."

Counterexample. f = b a x (or ReLU with the unit active), N = 1 example x = 1, y = 2, D = 2, around the
minimum W_0 = (a, b) = (1, 2). The minima near it are (t, 2/t), and the Hessian there has the eigenvalues 0
and 2 (t^2 + 4/t^2), which is 10 at t = 1 and no other t near 1. The linear net on x' = (2, 1) has the Hessian
2 x' x'^T everywhere, with the eigenvalues 0 and 10.

Why it decides. A differentiable conjugacy h near W_0 carries equilibria to equilibria, and at each of them
the two linearisations are similar by Dh: the memo's own section 10, after eq. 11: "the eigenvalues [...] have
to be the same". All of (t, 2/t) are equilibria, in every neighbourhood of W_0, and none but W_0 has the
eigenvalues of the linear net. Matching the Hessians at W_0 alone gives equal linearisations there and no
conjugacy.

What saves it. Either an added hypothesis, that W_0 is an isolated non-degenerate minimum (rank of grad f
equal to D, so D <= N; Hartman 1960), or a weaker conclusion, *topologically* conjugate (Shoshitaishvili's
reduction).
"""

from flint import fmpq_mpoly_ctx

a, b = fmpq_mpoly_ctx.get(("a", "b")).gens()
f, y = b * a, 2
loss = (y - f) ** 2


def vanishes_at_the_minima(p):
    """Whether p is a multiple of a b - 2, hence zero on all (t, 2/t)."""
    return divmod(p, a * b - y)[1] == 0


gradient = [loss.derivative(i) for i in range(2)]
assert all(vanishes_at_the_minima(p) for p in (loss, *gradient))
H = [[g.derivative(j) for j in range(2)] for g in gradient]
assert vanishes_at_the_minima(H[0][0] * H[1][1] - H[0][1] ** 2)  # one eigenvalue is 0, the other the trace
trace = H[0][0] + H[1][1]

start = (1, 2)
x = [f.derivative(i)(*start) for i in range(2)]
linear = [[2 * x[i] * x[j] for j in range(2)] for i in range(2)]
assert [[h(*start) for h in row] for row in H] == linear == [[8, 4], [4, 2]]
assert loss(*start) == 0
print("holds: at W_0 itself the two Hessians are equal, ((8, 4), (4, 2)), with eigenvalues 0 and 10")
change = 2 * (a**2 - 1) * (a**2 - 4)  # near a = 1 it is zero at a = 1 only
assert vanishes_at_the_minima(a**2 * (trace - 10) - change)
print("refuted: the eigenvalue at (t, 2/t) is 10 + 2 (t^2 - 1)(t^2 - 4)/t^2, and always 10 in the linear net")
