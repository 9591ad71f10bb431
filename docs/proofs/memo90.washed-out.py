"""memo90.washed-out: missing hypothesis (a linear net; for ReLU nets the least norm is not selected).

Statement (memo 90, section 13, remarks): "if a solution for the weights W_k exists such that y_n f(W, x_n) > 0 for
all n, then the normalized solution also separates the data. [...] Among all normalized solutions, GD selects the
one with minimum norm because only the nondegenerate directions around a minimum - in which the gradient is not
zero - increase."

Counterexample. f = a_1 relu(w_1.x) + a_2 relu(w_2.x), x_1 = (1, 0), x_2 = (0, 1), labels 1, w_1 = (1, -1),
w_2 = (-1, 1), a = (1, 1), exponential loss.

Why it decides. The velocity of w_j is a_j sum p_n x_n over the points on which unit j is active, p_n > 0: its
negative component does not move, so the units see one point each for ever, and only w_11, w_22, a_1, a_2 grow,
alike by symmetry. The limit is (1, 0), (0, 1), (1, 1) up to its size: margin 1 at the squared norm 4. One unit
w = (5/6, 5/6), a = 6/5 has margin 1 at a squared norm below 3.

What saves it. For one linear layer the selection is that of the largest margin. For ReLU nets each limit is
stationary for the norm at margin one; which one, the start says.
"""

from fractions import Fraction as Q

points = ((1, 0), (0, 1))


def active(w, x):
    return w[0] * x[0] + w[1] * x[1] > 0


def output(units, x):
    return sum(a * (w[0] * x[0] + w[1] * x[1]) for w, a in units if active(w, x))


def squared(units):
    return sum(w[0] ** 2 + w[1] ** 2 + a**2 for w, a in units)


start = [((Q(1), Q(-1)), Q(1)), ((Q(-1), Q(1)), Q(1))]
for (w, _), own in zip(start, (0, 1), strict=True):
    assert [active(w, x) for x in points] == [own == 0, own == 1]
    # the points that move the unit have no component along its negative one
    assert all(x[1 - own] == 0 for x in points if active(w, x))
limit = [((Q(1), Q(0)), Q(1)), ((Q(0), Q(1)), Q(1))]
one = [((Q(5, 6), Q(5, 6)), Q(6, 5))]
assert [output(limit, x) for x in points] == [output(one, x) for x in points] == [1, 1]
assert squared(one) < squared(limit)
print("refuted: squared norms at margin one:", squared(limit), "of the limit,", squared(one), "of one unit")
# stationary: W = sum mu_n grad f(x_n) with mu = 1, unit by unit: w_j = mu a_j x_j and a_j = mu w_j.x_j
assert all(w == x and a == w[0] * x[0] + w[1] * x[1] for (w, a), x in zip(limit, points, strict=True))
print("holds: the limit is stationary, with multipliers 1 and 1")
