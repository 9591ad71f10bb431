"""notes.normalised: misprint (tildes, in memo 90's version of the lecture notes' equations).

Statement (memo 90, section 12.2, 5; u = w/|w| is the memo's w with a tilde): "(b)
du/dw = (I - w w^T)/|w| = S", "(c) S w = S u = 0", u' = S w' (eq. 40), and, by defining B = sum_n
e^(-|w| f~_n) df~_n/du (eq. 42), "the Equation above becomes u' = (I - u u^T)/|u| B" (eq. 43), with f = |w| f~
and w' = sum_n e^(-f_n) df_n/dw (eq. 37, y_n absorbed in f_n). The lecture notes ("Normalization") have
S = (I - u u^T)/|w| and u' = sum e^(-rho f~)/rho (df~/du - u f~).

Counterexample. One linear layer f = w.x, one example x = (1, 0), w = (3, 4): |w| = 5, u = (3/5, 4/5),
f = 3 > 0, so that the point is separated. All velocities have the positive factor e^-3, which is left out:
w' = B = (1, 0).

Why it decides. u' is the derivative of w/|w| along w', here computed with dual numbers a + b eps, eps^2 = 0,
from the definition: (16/125, -12/125). Eq. 43 gives five times as much, as |u| = 1 stands for |w| = 5. (b)
gives -8/5 for du_1/dw_1, which is 16/125, and its S does not satisfy the memo's own (c).

What saves it. A tilde on both w in (b), none in the denominator of eq. 43: S = (I - u u^T)/|w| and
u' = (I - u u^T) B/|w|, the lecture notes' form. The substance stands; only the speed of u changes.
"""

from fractions import Fraction as Q

w, x, norm = (Q(3), Q(4)), (Q(1), Q(0)), Q(5)
assert norm**2 == w[0] ** 2 + w[1] ** 2
u = [a / norm for a in w]


def direction(v):
    """The derivative of w/|w| along v."""
    slope = (w[0] * v[0] + w[1] * v[1]) / norm  # the eps part of |w|: (norm + slope eps)^2 = |w + v eps|^2
    assert 2 * norm * slope == 2 * (w[0] * v[0] + w[1] * v[1])
    return [(v[i] * norm - w[i] * slope) / norm**2 for i in range(2)]  # (w + v eps)/(norm + slope eps)


def projected(a, v, length):
    """(I - a a^T) v/length."""
    along = a[0] * v[0] + a[1] * v[1]
    return [(v[i] - a[i] * along) / length for i in range(2)]


assert w[0] * x[0] + w[1] * x[1] > 0
true = direction(x)
assert true == [Q(16, 125), Q(-12, 125)]
assert projected(u, x, 1) == [5 * v for v in true] != true
print("refuted as printed: eq. 43 gives", *projected(u, x, 1), "for u' e^3, which is", *true)
axes = ([Q(1), Q(0)], [Q(0), Q(1)])
assert projected(w, axes[0], norm)[0] == Q(-8, 5) != direction(axes[0])[0] == Q(16, 125)
assert projected(w, w, norm) != [0, 0]
print("refuted as printed: (b) gives -8/5 for du_1/dw_1 = 16/125, and S w is not 0")
assert all(projected(u, v, norm) == direction(v) for v in axes)
assert projected(u, u, norm) == projected(u, w, norm) == [0, 0]
print("repaired: S = (I - u u^T)/|w| is du/dw, S w = 0, and u' = (I - u u^T) B/|w|")
