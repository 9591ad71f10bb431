"""memo90.fig6-reading: false (section 9; the caption of Figure 6 is right).

Statement (memo 90, section 9): "the pseudoinverse solution is the best, independently of overparametrization. It
does not overfit in the ideal noiseless case (up to numerical noise). Figure 6 shows an example." The figure:
monomials as features, the minimum norm solution. Overfitting (abstract): the expected error gets worse.

Counterexample. One training point x = 1/2 of the target f = 1, without noise. With the monomial 1 the solution is
w = 1; with 1 and x it is the shortest w with w_0 + w_1/2 = 1, (4/5, 2/5).

Why it decides. The test error at x = 1 is 0 with one monomial and 1/25 with two.

What saves it. In the norm of the features the interpolant is the projection of the target, (1, 0) here: no other
vector on the line through 0 and it is nearer. That is not the test error.
"""

from fractions import Fraction as Q

node, test = Q(1, 2), Q(1)


def features(x, count):
    return [x**k for k in range(count)]


def shortest(count):
    """The shortest weights with value 1 at the node."""
    phi = features(node, count)
    return [p / sum(q * q for q in phi) for p in phi]


def error(count):
    value = sum(w * p for w, p in zip(shortest(count), features(test, count), strict=True))
    return (value - 1) ** 2


assert shortest(2) == [Q(4, 5), Q(2, 5)]
assert error(1) == 0
assert error(2) > error(1)
print("refuted: no noise; the test error is", error(1), "with one monomial and", error(2), "with two")
target, w = (Q(1), Q(0)), shortest(2)
assert all(
    sum((c * a - b) ** 2 for a, b in zip(w, target, strict=True))
    >= sum((a - b) ** 2 for a, b in zip(w, target, strict=True))
    for c in (Q(1, 2), Q(9, 10), Q(11, 10), Q(2))
)
print("holds: in the norm of the weights no multiple of", *w, "is nearer to the target's (1, 0)")
