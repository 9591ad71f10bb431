"""memo90.time-is-inverse-lambda: false (of the best time and the best decay of one sample).

Statement (memo 90, section 6): "For the loss, the minimum of the expected risk may or may not occur at a finite
number of iterations. If it does, it corresponds to an equivalent optimum non-zero regularization parameter
lambda."

Counterexample. 1/2 sum (y - w.x)^2 with singular values of squares 2 and 1, interpolant u = (1, 1) in their
components, risk |w - beta|^2 with beta = (3/2, 9/10). From zero the flow is w = (1 - z^2, 1 - z), z = e^(-t), and
ridge (2/(2 + l), 1/(1 + l)).

Why it decides. At z = 1/20 the risk of the flow is below that at z = 0: its minimum is at a finite time. The risk
of ridge exceeds that at l = 0 for every l > 0: over positive denominators the difference is a polynomial in l
whose coefficients are not negative.

What saves it. In the mean over noise of variance v of the labels a component has (1 - f)^2 b^2 + f^2 v/s^2, f its
share: near f = 1 the first term is of second order, the second falls in first order. Both optima are inside.
"""

from fractions import Fraction as Q

squares = (2, 1)
u = (Q(1), Q(1))
beta = (Q(3, 2), Q(9, 10))


def risk(w):
    return sum((a - b) ** 2 for a, b in zip(w, beta, strict=True))


def times(p, q):
    found = [Q(0)] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            found[i + j] += a * b
    return found


stopped = [a * (1 - Q(1, 20) ** s) for a, s in zip(u, squares, strict=True)]
assert risk(stopped) < risk(u)
# (u s/(s + l) - beta)^2 - (u - beta)^2 = ((u s - beta (s + l))^2 - (u - beta)^2 (s + l)^2)/(s + l)^2
rises = [Q(0)] * 5
for k, (a, b, s) in enumerate(zip(u, beta, squares, strict=True)):
    own, e = [a * s - b * s, -b], [Q(s), Q(1)]
    difference = [p - (a - b) ** 2 * q for p, q in zip(times(own, own), times(e, e), strict=True)]
    other = [Q(squares[1 - k]), Q(1)]
    rises = [p + q for p, q in zip(rises, times(difference, times(other, other)), strict=True)]
assert rises[0] == 0
assert all(one > 0 for one in rises[1:])
print(
    "refuted: stopping at e^(-t) = 1/20 gains", risk(u) - risk(stopped), "and every decay loses:", *rises[1:]
)
shares = (Q(1), Q(99, 100))
mean = [(1 - f) ** 2 * beta[0] ** 2 + f**2 * Q(1, 2) for f in shares]
assert mean[1] < mean[0]
print("holds in the mean over noise: a share of 0.99 gains", mean[0] - mean[1])
