"""memo90.lambda-limit: false.

Statement (memo 90, section 12.2, of the equilibrium W_0 with lambda): "there is asymptotic stability. Furthermore,
for the exponential loss - but not for the square loss - the dynamics for any W close to W_0 remains qualitatively
the same when lambda -> 0, in other words is not affected by the presence of regularization."

Counterexample. One layer, one example of square x2 = |x|^2 = 1: the margin m moves as m' = x2 e^(-m) - lambda m.

Why it decides. For each lambda in 1e-2, 1e-4, ... there is an equilibrium between log(1/lambda)/2 and
log(1/lambda) that attracts, as the right side falls in m and changes its sign there. With lambda = 0 the right side
is positive there: no equilibrium, nothing attracts. In a time 1/lambda that flow passes from m to
log(e^m + x2/lambda): more than log 2 further, as e^m < 1/lambda.

What saves it. On a window of fixed length both flows are alike as lambda -> 0; under the square loss too, where for
one weight w' = 2 (1 - w) - lambda w has a hyperbolic equilibrium for lambda = 0 as well.
"""

from flint import arb, fmpq

x2 = fmpq(1)


def rate(m, decay):
    return arb(x2) * (-m).exp() - arb(decay) * m


for decay in (fmpq(1, 100**k) for k in range(1, 6)):
    high = -arb(decay).log()
    low = high / 2
    assert rate(low, decay) > 0
    assert rate(high, decay) < 0  # an equilibrium between; the rate falls in m, so that it attracts
    assert rate(low, 0) > 0
    assert rate(high, 0) > 0
    later = (low.exp() + arb(x2) / arb(decay)).log()
    assert later - low > arb(2).log()
print("refuted: attracting equilibria for lambda = 1e-2 to 1e-10, none for lambda = 0; the margin goes on")
assert all(-2 - decay < 0 for decay in (fmpq(0), fmpq(1, 100)))
print("holds of the window; and the square loss with one weight has the slope -2 - lambda, at lambda = 0 too")
