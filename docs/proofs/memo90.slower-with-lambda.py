"""memo90.slower-with-lambda: missing hypothesis (small lambda, or one layer).

Statement (memo 90, section 5.2, after eq. 8, exponential loss, K layers): "hyperbolicity is guaranteed for any
value lambda_k > 0: smaller and smaller lambda_k imply that the equilibrium is reached at longer and longer times."

Counterexample. Two layers of width one, x = y = 1: L = e^(-ab) + lambda (a^2 + b^2)/2. At a = b = u with
e^(-u^2) = lambda the gradient vanishes; the Hessian has lambda + (u^2 - 1 + 1) e^(-u^2) and its like: along (1, 1)
it is 2 lambda u^2 = 2 lambda log(1/lambda), along (1, -1) it is 2 lambda.

Why it decides. The lesser is the rate at which the equilibrium is reached. From lambda = 1/2 down to 2/5 it grows.

What saves it. 2 lambda log(1/lambda) is largest at lambda = 1/e, and from lambda = 1/e down the lesser of the two
falls with lambda: the claim holds far below lambda = 1, at which the equilibrium leaves 0. With one layer the rate
is lambda (1 + m), x^2 e^(-m) = lambda m, and falls with lambda always.
"""

from itertools import pairwise

from flint import arb, fmpq

decays = (fmpq(1, 2), fmpq(2, 5))
rates = []
for decay in decays:
    u2 = -arb(decay).log()
    pull = (-u2).exp()  # e^(-ab) at a = b = u
    assert pull.contains(decay)  # lambda u = u e^(-u^2)
    # L_aa = b^2 e^(-ab) + lambda and L_ab = (ab - 1) e^(-ab), the second by the product rule
    own, other = u2 * pull + arb(decay), (u2 - 1) * pull
    along, across = own + other, own - other
    assert along.overlaps(2 * arb(decay) * u2)
    assert across.overlaps(2 * arb(decay))
    rates.append(along)
    assert along < across
assert rates[1] > rates[0]
print("refuted: the rate at lambda =", *decays, "is", rates[0].str(6), "and", rates[1].str(6))
small = [2 * arb(decay) * (-arb(decay).log()).min(1) for decay in (fmpq(1, 10**k) for k in range(1, 8))]
assert all(b < a for a, b in pairwise(small))
print("holds: for lambda = 0.1, 0.01, ... the rate falls")
