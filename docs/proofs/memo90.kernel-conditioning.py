"""memo90.kernel-conditioning: missing hypothesis (on the target: its law, or the norm of its error).

Statement (memo 90, section 7): "the generic situation for interpolating kernel machines is that there is no need
of regularization in the noiseless case (the conditioning number depends on separation of the x data and is thus
independent of noise in the y labels)."

Counterexample. k(x, x') = x x', one point x = 1 of label f(1) = 1, risk the mean square over x = 1 and x = 2, with
f(2) = 0. No noise; the Gram matrix is (1), of condition 1. With decay l the machine is x/(1 + l).

Why it decides. At l = 0 the risk is 2, at l = 4 it is 2/5.

What saves it. In the norm of the kernel the interpolant is the projection of the target: for f(x) = b x on the line
it is f itself. In the mean over targets of covariance k it is the conditional mean.
"""

from fractions import Fraction as Q

others = (1, 2)
targets = (Q(1), Q(0))


def risk(decay):
    gram, label = Q(others[0] ** 2), targets[0]
    c = label / (gram + decay)
    return sum((c * x - f) ** 2 for x, f in zip(others, targets, strict=True)) / len(others)


assert risk(Q(4)) < risk(Q(0))
print("refuted: no noise, condition 1; the risk is", risk(Q(0)), "without decay and", risk(Q(4)), "at 4")
b = Q(3)
assert all((b / (1 + decay) - b) ** 2 > 0 for decay in (Q(1, 100), Q(1), Q(100)))
print("holds for a target of the kernel's span, b x: the interpolant is exact, and no decay is")
