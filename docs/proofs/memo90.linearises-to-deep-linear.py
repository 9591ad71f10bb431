"""memo90.linearises-to-deep-linear: false.

Statement (memo 90, section 12.3): "Thus a deep nonlinear network with an exponential loss linearizes to a deep linear
network with same loss" (rectified nonlinearities, around a minimum of the regularised loss); "if there exists a deep
linear network with the same number of distinct eigenvalues [...] then we obtain differentiable conjugacy".

Counterexample. f = a_1 relu(w_1.x) + a_2 relu(w_2.x), unit inputs x_1 = (3, 4)/5 and x_2 = -x_1 of label 1, decay l. At
w_j = s x_j, a_j = s with e^(-s^2) = l the gradient is 0, and no unit is on a kink: w_j.x_n = +-s. Its Hessian has no
entry between the two units. The deep linear net with these weights has f = 0 at both inputs, and such entries.

Why it decides. The linearised flows have different matrices: the deep linear net of the same weights, data and loss is
not the linearisation. And x' = -x, y' = -2y have one distinct eigenvalue each, but h with h(e^(-t) x) = e^(-2t) h(x)
and h'(0) = c has c = lim h(e^(-t) x)/(e^(-t) x) = lim e^(-t) h(x)/x = 0: no diffeomorphism.

What saves it. The linear net gated example by example, f_n = W_2 D_n W_1 x_n; it is deep linear where all masks are
equal.
"""

from fractions import Fraction as Q

x = ((Q(3, 5), Q(4, 5)), (-Q(3, 5), -Q(4, 5)))


def dot(u, v):
    return sum(a * b for a, b in zip(u, v, strict=True))


def between_units(s, rectified):
    """f at both inputs, and the entry of sum of grad f grad f' between a_1 and a_2 (a Hessian's, weights apart)."""
    w, a = [tuple(s * c for c in v) for v in x], (s, s)
    unit = [[max(dot(w[j], v), Q(0)) if rectified else dot(w[j], v) for v in x] for j in (0, 1)]
    f = [a[0] * unit[0][n] + a[1] * unit[1][n] for n in (0, 1)]
    return f, [unit[0][n] * unit[1][n] for n in (0, 1)]


assert dot(x[0], x[0]) == 1
for s in (Q(1), Q(2), Q(5, 2)):
    f, across = between_units(s, rectified=True)
    assert f == [s * s, s * s]  # so that e^(-f) = l, and l w_j = e^(-f) a_j x_j, l a_j = e^(-f) w_j.x_j
    assert across == [0, 0]
    f, across = between_units(s, rectified=False)
    assert f == [0, 0]
    assert across == [-s * s, -s * s]
print("refuted: the Hessian has no entry between two units, that of the deep linear net has -2 s^2")
print("holds of the gated linear net, and where all masks are equal")
