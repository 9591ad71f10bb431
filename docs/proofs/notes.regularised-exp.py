"""notes.regularised-exp: false (what is of order one is w*/log(1/lambda), in the limit).

Statement (lecture notes, "Regularization for linear nets with exp loss", y_n absorbed in x_n, separable
data): "W' = sum x_n e^(-W.x_n) - lambda W. The minimum W* is given by (1/lambda) sum x_n e^(-W*.x_n) = W* ...
more in general w* = w^inf is a linear combination of support vectors thus w*.x_n = 1 ... This recovers the
gist of Srebro's result for lambda -> 0."

Counterexample to w*.x_n = 1. One point x = 1, which is its own support vector. The equilibrium has lambda
w = e^-w, that is h(w) = S - w - log w = 0 with S = log(1/lambda); h falls from +inf to -inf. h(1) = S - 1 > 0
for every lambda < 1/e, so that w* > 1: the equation holds at lambda = 1/e alone. As lambda -> 0 the two sides
part without bound: h(S - log S) > 0 > h(S), and S - log S < w* < S.

Counterexample to "combination of support vectors". Points (1, 0) and (2, 1). The hard-margin direction is
(1, 0), with margins 1 and 2: it satisfies all constraints and is 1 times the first point, 0 times the second
(the conditions of Karush, Kuhn and Tucker). The first point is the only support vector. But the second
component of w* is (1/lambda) e^(-w*.x_2) > 0 for every lambda: w* is a combination of all points.

Why it decides. The hypotheses are separable data and lambda > 0, and lambda is as small as one likes.

What saves it. Both sentences are true of w*/log(1/lambda) in the limit lambda -> 0, which is what is taken
from Srebro: with S = log(1/lambda) the ratio w*.x/S is in (1 - log S/S, 1). The equation of W* and the
hyperbolicity are right: -H = sum x x^T e^(-W*.x) + lambda I is definite (the printed H is the Jacobian of the
flow).
"""

from flint import arb


def h(S, w):
    """S - w - log w: positive below the equilibrium of the single point, negative above."""
    return S - w - w.log()


for S, bound in ((arb(10), 7), (arb(1000), 993), (arb(10**6), 999986)):
    assert h(S, arb(1)) > 0
    assert h(S, arb(bound)) > 0
    assert h(S, S - S.log()) > 0
    assert h(S, S) < 0
print("refuted: for x = 1 and log(1/lambda) = 10, 1000, 10^6 w*.x exceeds 7, 993, 999986; printed is 1")

points, hard_margin, dual = ((1, 0), (2, 1)), (1, 0), (1, 0)
margins = [hard_margin[0] * x[0] + hard_margin[1] * x[1] for x in points]
assert margins == [1, 2]
assert all(m >= 1 for m in margins)
assert all(a >= 0 and a * (m - 1) == 0 for a, m in zip(dual, margins, strict=True))
assert hard_margin == tuple(sum(a * x[i] for a, x in zip(dual, points, strict=True)) for i in (0, 1))
assert points[0][1] == 0 < points[1][1]  # so that w*_2 = (1/lambda) e^(-w*.x_2) > 0
print("refuted: (1, 0), (2, 1) has one support vector, (1, 0), of which w* is no multiple for any lambda")
S = arb(10) ** 6
assert (S - S.log()) / S > 0.9999
print("repaired: w*.x/log(1/lambda) is in (1 - log S/S, 1), S = log(1/lambda): above 0.9999 at S = 10^6")
