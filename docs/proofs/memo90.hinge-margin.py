"""memo90.hinge-margin: missing hypothesis.

Statement (memo 90, section 5.4): "A recent result (Corollary 2.1 in [10]) formally shows that the minima of the
gradient of a hinge-loss for a deep network with RELU activations have large margin if the data are separable."

Counterexample. f = a relu(w x), x = 1 of label 1: separable, by a = w = 1. L = max(0, 1 - f). At a = w = 0 both
derivatives of L, -relu(w x) and -a relu'(w x) x, are 0, whatever slope relu has at 0; the margin y f is 0.

Why it decides. The gradient is 0, the data are separable, and the margin is not large: it is 0.

What saves it. W itself separates: 0 = <W, grad L> = -2 f if 0 < f < 1, so f >= 1.
"""

from fractions import Fraction as Q

x = Q(1)


def margin(a, w):
    return a * max(w * x, Q(0))


assert margin(Q(1), Q(1)) == 1  # separable
a, w = Q(0), Q(0)
for slope in (Q(0), Q(1, 2), Q(1)):
    assert (-max(w * x, Q(0)), -a * slope * x) == (0, 0)
assert margin(a, w) < 1
print("refuted: W = 0 is stationary on separable data, with margin 0")

for a, w in ((Q(1, 2), Q(1, 3)), (Q(9, 10), Q(1))):
    gradient = (-w * x, -a * x)
    assert 0 < margin(a, w) < 1
    assert a * gradient[0] + w * gradient[1] == -2 * margin(a, w)
print("holds where W separates: below margin 1 the gradient is not 0")
