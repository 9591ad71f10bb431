"""memo112.lowest-norm: missing hypothesis (no y_n f_n is negative).

Statement (memo 112, section 3.1): "rho_k' > 0 as long as rho is not much larger than 1 and sum f_n y_n > 0.
The lowest value of rho_k at equilibrium (rho_k' = 0) is rho_k = 1."

Counterexample. Three examples x = 1 of one weight a layer, f = V_1 ... V_L x = 1, with labels 1, 1, -1: they
contradict each other. sum f y = 1 > 0, sum f^2 = 3.

Why it decides. The rate of rho has the sign of sum f y - rho sum f^2 = 1 - 3 rho: negative at rho = 1/2,
which is not larger than 1, and zero at rho = 1/3 < 1, the minimum of the loss.

What saves it. y_n f_n >= 0 for all n: with |f_n| <= 1 then sum y f = sum |f| >= sum f^2, and
sum |f| (1 - |f|) = (rho - 1) sum f^2 at equilibrium, so that rho = 1 only if every |f_n| is 0 or 1.
"""

from fractions import Fraction as Q

outputs, labels = (Q(1), Q(1), Q(1)), (1, 1, -1)


def sums(f, y):
    """sum f y and sum f^2."""
    return sum(a * b for a, b in zip(f, y, strict=True)), sum(a * a for a in f)


pull, power = sums(outputs, labels)
assert pull > 0
assert pull - power * Q(1, 2) < 0
assert pull / power < 1
print(f"refuted: the equilibrium is rho = {pull / power}, and rho shrinks from 1/2")
for f in ((Q(1), Q(1, 2), Q(0)), (Q(1), Q(1), Q(0)), (Q(1, 3), Q(2, 3), Q(1))):
    pull, power = sums(f, (1, 1, 1))
    assert pull >= power
    assert sum(a * (1 - a) for a in f) == (pull / power - 1) * power
print("repaired: without a wrong sign the equilibrium is at least 1, and 1 for 0 and 1 alone")
