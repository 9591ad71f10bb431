"""memo90.square-equilibrium-diverges: false.

Statement (memo 90, section 11.1, of L = sum (y_n - w.x_n)^2 with a term lambda w^2): "regularization ensures the
existence of a hyperbolic equilibrium for any lambda > 0 at a finite w0 (which increases to infinity for lambda ->
0)."

Counterexample. N = d = 1, x = y = 1. With the term lambda w^2 the gradient -2 (1 - w) + 2 lambda w vanishes at
w = 1/(1 + lambda); with the printed velocity 2 (1 - w) - lambda w it does at w = 1/(1 + lambda/2).

Why it decides. Both are less than 1 for every lambda > 0.

What saves it. The equilibrium increases to the minimum norm solution, here 1: 1 - w is less than lambda. For the
exponential loss, of which section 11.2 says the same, it does go to infinity, as log(1/lambda).
"""

from fractions import Fraction as Q

x, y = 1, 1
before = {}
for decay in (Q(1, 10**k) for k in range(1, 30)):
    for penalty in (decay, decay / 2):
        w = Q(x * y) / (x**2 + penalty)
        assert 2 * (y - w * x) * x - 2 * penalty * w == 0  # the velocity vanishes
        assert w < 1
        assert 1 - w < decay
    assert w > before.get("w", 0)
    before["w"] = w
print("refuted: at lambda = 1e-29 the equilibrium is 1 - w =", float(1 - w), "below 1, and no further")
print("holds: it increases as lambda falls, to the minimum norm solution 1")
