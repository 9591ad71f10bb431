"""cohen.gd-rate: misprint (a factor loss(0)).

Statement (Cohen's slides, Theorem after "From Gradient Flow to Gradient Descent"): with deficiency margin c, balanced,
and any learning rate eta <= O(c^4), loss(iteration t) <= e^(-Omega(c^2 eta t)).

Counterexample. Two layers of one weight, target 16, loss (w_2 w_1 - 16)^2/2, start w_1 = w_2 = 3: balanced exactly, and
|9 - 16| = 7 = 16 - 9, so that the margin is c = 9.

Why it decides. At t = 0 the right-hand side is e^0 = 1, whatever Omega hides; loss(0) = 49/2. It fails for
the first iterations too: loss(1) > 1 at the step of the paper's theorem. All numbers are rational.

What saves it. The factor: loss(t) <= loss(0) e^(-Omega(c^2 eta t)). For t = 1, and the paper's exponent eta c, loss(1)
<= loss(0)(1 - eta c), which is below loss(0) e^(-eta c).
"""

from fractions import Fraction as Q

target, w1, w2 = Q(16), Q(3), Q(3)
c = target - abs(w2 * w1 - target)
assert w1**2 == w2**2
assert c > 0


def loss(w1, w2):
    return (w2 * w1 - target) ** 2 / 2


# Theorem 1 of Arora, Cohen, Golowich, Hu (2019) with N = 2: c^3/(6144 * 8 * target^4)
eta = c**3 / (6144 * 8 * target**4)
rest = w2 * w1 - target
after = loss(w1 - eta * rest * w2, w2 - eta * rest * w1)
assert loss(w1, w2) > 1
assert after > 1
print(f"refuted: loss(0) = {loss(w1, w2)} and loss(1) > 1, above e^(-x) for every x >= 0")
assert after <= loss(w1, w2) * (1 - eta * c)
print("repaired: loss(1) <= loss(0) (1 - eta c) <= loss(0) e^(-eta c)")
