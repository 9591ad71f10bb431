"""memo90.lemma2: false.

Statement (memo 90, section 5.2): "Lemma 2. The dynamics of the weight matrices W_k can be regularized by
adding the term lambda_k ||W_k||^2 to the loss function. Such regularization ensures hyperbolicity of the
linearized dynamics around a zero minimizer of the empirical loss for any lambda_k > 0". Activations may be
"ReLU, linear and polynomial" (section 3); both losses are meant (sections 12.1, 12.2).

Counterexample. Two hidden units, linear or ReLU: f = b.a = W_2 W_1 x at x = 1, with W_1 = a, W_2 = b^T, equal
decays. Square loss with y = 2, lambda = 2 - r^2: L = (2 - s)^2 + lambda (|a|^2 + |b|^2) >= (2 - s)^2 + 2
lambda |s| for s = b.a, with equality for a = +-b only, so that for 0 < lambda < 2 the minima are a = b,
|a|^2 = 2 - lambda. They tend to zero minimisers. a = b = (3 r/5, 4 r/5) is one of them, all units active.
Exponential loss, y = 1: e^-s + 2 lambda |s| is least at lambda = e^-s/2, and the minima are a = b, |a|^2 = s.

Why it decides. Turning the two units, (a, b) -> (Q a, Q b), changes neither f nor a norm. The minima form a
circle (an arc, for ReLU), and its tangent v is in the kernel of the Hessian, for every lambda in (0, 2) (in
(0, 1/2)): an eigenvalue zero at every regularised minimum. At a zero minimiser W_0 itself the Hessian with
decay is definite, but W_0 is no equilibrium there (the gradient is 2 lambda W_0), and the Hartman-Grobman
theorem speaks of equilibria only.

What saves it. A hypothesis: no two hidden units that the activation treats alike on the data (one unit,
below; generic smooth units, as measured). Otherwise normal hyperbolicity along the orbit of the rotations, not
hyperbolicity.
"""

from flint import fmpq, fmpq_mpoly_ctx

R = fmpq_mpoly_ctx.get(("a1", "a2", "b1", "b2", "lam", "r"))
a1, a2, b1, b2, lam, r = R.gens()
f, norms = a1 * b1 + a2 * b2, a1**2 + a2**2 + b1**2 + b2**2
a = (r * fmpq(3, 5), r * fmpq(4, 5))
v = (-a[1], a[0], -a[1], a[0])


def at_minimum(p):
    return p.compose(*a, *a, 2 - r**2, r)


loss = (2 - f) ** 2 + lam * norms
gradient = [loss.derivative(i) for i in range(4)]
assert all(at_minimum(g) == 0 for g in gradient)
assert all(sum(at_minimum(g.derivative(j)) * v[j] for j in range(4)) == 0 for g in gradient)
assert sum(c * c for c in v) == 2 * r**2  # v is not 0
print("refuted, square loss: hess L v = 0 at the minimum a = b, |a|^2 = 2 - lambda, for all lambda in (0, 2)")

for i in range(4):  # exponential loss, lambda = e^-s/2; gradient and Hessian are in units of e^-s > 0
    df = f.derivative(i)
    assert at_minimum(-df + norms.derivative(i) / 2) == 0
    row = [df * f.derivative(j) - df.derivative(j) + norms.derivative(i).derivative(j) / 2 for j in range(4)]
    assert sum(at_minimum(h) * v[j] for j, h in enumerate(row)) == 0
print("refuted, exponential loss: the same at a = b, |a|^2 = s, lambda = e^-s/2, for all s > 0")

loss = (2 - a1 * b1) ** 2 + lam * (a1**2 + b1**2)  # one hidden unit: a = b = r
H = [
    [loss.derivative(i).derivative(j).compose(r, 0 * r, r, 0 * r, 2 - r**2, r) for j in (0, 2)]
    for i in (0, 2)
]
assert H[0][0] == 4
assert H[0][0] * H[1][1] - H[0][1] ** 2 == 16 * r**2 * (2 - r**2)
print("holds with one hidden unit: the Hessian is definite there, det = 16 r^2 lambda > 0")
