"""memo90.regularised-square: false.

Statement (memo 90, section 12.1, 3, loss sum (y_n - f(W; x_n))^2, y_n = f(W; x_n) attainable): "The effect of
regularization is to add the term lambda_k ||W_k||^2 to the loss. This results in a Hessian of the form
J(W)_kk' = -2 sum_n grad_k f grad_k' f - lambda_k delta_kk' I (29) which is always negative definite for any
lambda > 0." (That lambda_k should be 2 lambda_k is a constant, and is not held against it.)

Counterexample to the form. f = w2 w1, x = 1, y = 2, lambda = 1. The minimum is at w = (1, 1), where
E = y - f = 1 = lambda. -J is ((4, 0), (0, 4)); off the diagonal (29) has 2, whatever the multiple of I.

Counterexample to definiteness. Two hidden units, f = b.a (linear, or ReLU with both units active), x = 1,
y = 4, lambda_1 = 1 on a, lambda_2 = 4 on b. |a|^2 + 4 |b|^2 >= 4 |s| for s = b.a, with equality for a = +-2 b
only, and (4 - s)^2 + 4 |s| is least at s = 2: the minima are a = 2 b, |b| = 1. At b = (3, 4)/5 the Hessian of
the whole loss has rank 3; the tangent of the circle of minima, on which the two units are turned, is its
kernel.

Why it decides. Both points are minima of the regularised loss, the equilibria of which the passage wants to
show that they are hyperbolic (as Lemma 2 says). There E is of the order of lambda, and so is the dropped term
-2 sum E d2f: as large as the one that is to make the Hessian definite. At a zero W_0 of the plain loss E = 0,
and (29) holds up to its 2, but W_0 is no equilibrium of the regularised flow (the gradient there is 2 lambda
W_0).

What saves it. The dropped term: -J = 2 sum grad f grad f^T - 2 sum E d2f + 2 lambda_k; at a minimum it is
semidefinite, and definite only if no rotation of hidden units leaves f and the norms as they are.
"""

from flint import fmpq, fmpq_mat, fmpq_mpoly_ctx


def derivatives(p, point):
    n = range(len(point))
    gradient = [p.derivative(i)(*point) for i in n]
    return gradient, [[p.derivative(i).derivative(j)(*point) for j in n] for i in n]


w1, w2 = fmpq_mpoly_ctx.get(("w1", "w2")).gens()
f, y, w = w1 * w2, 2, (1, 1)
gradient, H = derivatives((y - f) ** 2 + w1**2 + w2**2, w)
df, d2f = derivatives(f, w)
E = y - f(*w)
assert gradient == [0, 0]
assert H == [[4, 0], [0, 4]]
assert E == 1
assert H[0][1] != 2 * df[0] * df[1] == 2
assert [[2 * df[i] * df[j] - 2 * E * d2f[i][j] + 2 * (i == j) for j in (0, 1)] for i in (0, 1)] == H
assert derivatives((y - f) ** 2 + w1**2 + w2**2, (1, 2))[0] == [2, 4]  # a zero of the plain loss
print("refuted, the form: at the minimum of (2 - w2 w1)^2 + |w|^2 the entry (1, 2) is 0, in (29) it is 2")

a1, a2, b1, b2 = fmpq_mpoly_ctx.get(("a1", "a2", "b1", "b2")).gens()
loss = (4 - a1 * b1 - a2 * b2) ** 2 + a1**2 + a2**2 + 4 * (b1**2 + b2**2)
point = (fmpq(6, 5), fmpq(8, 5), fmpq(3, 5), fmpq(4, 5))
gradient, H = derivatives(loss, point)
assert gradient == [0, 0, 0, 0]
H, v = fmpq_mat(H), fmpq_mat([[-8], [6], [-4], [3]])
assert H * v == fmpq_mat(4, 1)
assert H.rank() == 3
print("refuted, definiteness: with two hidden units the Hessian at the minimum has the kernel", v.entries())
