"""memo90.non-separable: false.

Statement (memo 90, appendix, "Non separable case", y_n absorbed in x_n, w' = sum x_n e^(-x_n.w)): "Consider
the linear network in the exponential loss case. There will be a finite w for which the gradient is zero.
[...] assume that there is one classification error [...] Let us also assume that gradient descent converges
to w*. [...] misclassification errors do not "regularize" all components of w but only the ones in the span of
the misclassified examples." Regularised means: held at a finite hyperbolic equilibrium, as
w* = log(x_2/x_1)/(x_1 + x_2) is.

Counterexample. d = 2, points (-1, 0), (2, 1), (2, -1). At w* = (log(4)/3, 0) the gradient is zero: with
c = e^(w*_1), c^3 = 4, the weights e^(-x_n.w*) are c, 1/c^2, 1/c^2, that is c, c/4, c/4. One point is
misclassified, (-1, 0), as c > 1. Its span is the first axis. The Hessian of the loss is c diag(3, 1/2):
definite.

Why it decides. The loss is convex everywhere and strictly at w*, so w* is its only minimum and gradient
descent converges to it, as assumed. The second component lies beside the span of the misclassified example,
and is regularised as the first one is: by points that are classified correctly, on both sides of it. Nor need
there be a finite w: for (-1, 0), (1, 0), (0, 1), not separable either, the second component of w' is
e^(-w_2) > 0 everywhere.

What saves it. Not the misclassified points count but the core: the points that every weak separator (a v with
x_k.v >= 0 for all k) leaves at x_n.v = 0. Components in its span are regularised. In the example the core is
everything, since -v_1 >= 0 and 2 v_1 +- v_2 >= 0 leave v = 0 only; in the last one it is the first two
points.
"""

from fractions import Fraction as Q

points = ((-1, 0), (2, 1), (2, -1))
weights = (Q(1), Q(1, 4), Q(1, 4))  # in units of c > 0
# x.w* = x_1 log c, so that e^(-x.w*) = c^(-x_1); with c^3 = 4 this is c 4^(-(1 + x_1)/3)
for x, weight in zip(points, weights, strict=True):
    power, rest = divmod(1 + x[0], 3)
    assert rest == 0
    assert weight == Q(4) ** -power
gradient = [-sum(p * x[i] for p, x in zip(weights, points, strict=True)) for i in (0, 1)]
assert gradient == [0, 0]
H = [[sum(p * x[i] * x[j] for p, x in zip(weights, points, strict=True)) for j in (0, 1)] for i in (0, 1)]
misclassified = [x for x in points if x[0] < 0]  # x.w* = x_1 log c with log c = log(4)/3 > 0
assert misclassified == [(-1, 0)]
assert [[3, 0], [0, Q(1, 2)]] == H
print(
    "refuted: only (-1, 0) is misclassified; the Hessian is c diag(3, 1/2): both components are regularised"
)

# a weak separator v has -v_1 >= 0 and, by the sum of the others, 4 v_1 >= 0: so v_1 = 0, +-v_2 >= 0, v = 0
assert [a + b for a, b in zip(points[1], points[2], strict=True)] == [4, 0]
assert all(x[1] == 0 for x in ((-1, 0), (1, 0)))  # w'_2 = e^(-w_2) from (0, 1) alone: no equilibrium
print("holds of the core: here it is all three points; for (-1, 0), (1, 0), (0, 1) w_2 runs away")
