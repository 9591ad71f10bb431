"""memo112.sgd-fluctuation: missing hypothesis (some example is not fitted at the equilibrium).

Statement (memo 112, section 3.1): "Equation 6 is a critical point for the dynamics of rho under GD but NOT under SGD.
In the case of SGD the asymptotic value of rho [...] can be expected to fluctuate randomly around [it]."

Counterexample. One weight a layer, f = x, two examples x = 1 and x = -1 with labels 1 and -1: the equilibrium is
rho = sum y f / sum f^2 = 1, and fits both.

Why it decides. The step of SGD on any minibatch is a combination of (rho f_n - y_n) f_n, and each of them is 0 at
rho = 1: the equilibrium is critical for every minibatch, and nothing fluctuates.

What saves it. An example with rho f_n != y_n at the equilibrium: with labels 1 and -1/2 it is rho = 3/4, where the two
terms are -1/4 and 1/4; the whole batch stands still, and each example moves rho.
"""

from fractions import Fraction as Q

f, y = (Q(1), Q(-1)), (Q(1), Q(-1))


def terms(f, y):
    """The equilibrium, and (rho f_n - y_n) f_n there."""
    rho = sum(a * b for a, b in zip(f, y, strict=True)) / sum(a * a for a in f)
    return rho, [(rho * a - b) * a for a, b in zip(f, y, strict=True)]


rho, moves = terms(f, y)
assert moves == [0, 0]
print(f"refuted: rho = {rho} is critical for every minibatch")
rho, moves = terms((Q(1), Q(-1)), (Q(1), Q(-1, 2)))
assert sum(moves) == 0
assert all(move != 0 for move in moves)
print(
    f"repaired: at rho = {rho} the batch stands still, and the examples move it by {moves[0]} and {moves[1]}"
)
