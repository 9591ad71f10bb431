"""memo90.span-per-layer: false (the span moves; the Hessian of -L is not semidefinite).

Statement (memo 90, section 5.1): "As in the linear network case of [1], the weights of layer k that change under
the dynamics must be in the vector space spanned by the [df(x_n; W)/dW_k] (which play the role of the data x_n of the
linear case). [...] the Hessian which for large t is negative semi-definite with several zero eigenvalues."

Counterexample. f = a.b, two layers with two hidden units, one example x = y = 1, p = e^(-f): a' = p b, b' = p a.
(1) a = (1, 0), b = (1, 1). (2) The orbit a = b = (r, 0).

Why it decides. (1) df/da = b. The second derivative of a is p' b + p^2 a, with the part p^2 a beside the span of b: a
leaves the space of the start at once. (2) Along (a_2, b_2) = (1, 1) the Hessian of -L over p, ddf - df df', is 2 > 0
at every r.

What saves it. At every moment the velocity lies in the span at that moment. In W_1 what no example sees stays.
"""

from flint import fmpq_mat, fmpq_mpoly_ctx

gens = fmpq_mpoly_ctx.get(("a1", "a2", "b1", "b2")).gens()
a1, a2, b1, b2 = gens
f = a1 * b1 + a2 * b2
a, b = (1, 0), (1, 1)
point = (*a, *b)
slope = [f.derivative(i)(*point) for i in range(4)]
assert tuple(slope[:2]) == b  # the velocity of a over p is b: in the span
assert tuple(slope[2:]) == a
# a'' = p' b + p (b)' = p' b + p^2 a; the determinant with b measures what lies beside it
beside = slope[2] * b[1] - slope[3] * b[0]
assert beside != 0
print("refuted: a leaves the span of its derivative at the start, by a share p^2 times", beside)
for r in (1, 10, 1000):
    orbit = (r, 0, r, 0)
    first = fmpq_mat([[f.derivative(i)(*orbit)] for i in range(4)])
    second = fmpq_mat([[f.derivative(i).derivative(j)(*orbit) for j in range(4)] for i in range(4)])
    u = fmpq_mat([[0], [1], [0], [1]])
    assert first[1, 0] == first[3, 0] == 0  # a_2 = b_2 = 0 stays
    assert (u.transpose() * (second - first * first.transpose()) * u)[0, 0] == 2
print("refuted: along (a_2, b_2) = (1, 1) the Hessian of -L is 2 e^(-r^2) > 0 on the orbit a = b = (r, 0)")
