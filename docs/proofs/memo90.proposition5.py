"""memo90.proposition5: false.

Statement (memo 90, section 12.2): "The normalized weight matrix at each layer converges to the minimum Frobenius
norm solution, independently of initial conditions" (a conjecture; exponential loss, separated data).

Counterexample. f = a_1 relu(w_1.x) + a_2 relu(w_2.x), inputs (4, 1) and (-4, 1), both of label 1. Two starts. A:
w_1 = (0, 1), a_1 = 1, w_2 = (0, -1), a_2 = 1. B: w_1 = (4, 1), w_2 = (-4, 1), a_1 = a_2 = 1.

Why it decides. A: no input sees the second neuron; by symmetry w_1 = (0, b), a_1 = b, margins b^2, so that the
margin of W/|W| tends to 1/2. B: each input sees its own neuron only, w_j = c_j x_j, margins 17 a_j c_j; a_j^2 -
|w_j|^2 stays, and the margins grow without end, so that a_j/|w_j| tends to 1 and, by symmetry, the margin of
W/|W| to 17 a c/(2 (a^2 + 17 c^2)) at a = sqrt(17) c, that is sqrt(17)/4 > 1/2. The normalised layers tend to
different limits, of different norms at margins 1; at most one is the solution of minimum norm.

What saves it. The product of a linear net tends to the SVM direction from every start; a ReLU net tends to one
of several KKT points of the largest margin.
"""

from fractions import Fraction as Q

X = ((4, 1), (-4, 1))


def seen(w):
    return [max(w[0] * x[0] + w[1] * x[1], Q(0)) for x in X]


assert seen((Q(0), Q(1))) == [1, 1]  # A: margins a_1 b
assert seen((Q(0), Q(-1))) == [0, 0]
assert [sum(x[i] for x in X) for i in (0, 1)] == [0, 2]  # the pull on w_1 is along itself
assert seen((Q(4), Q(1))) == [17, 0]  # B: each input its own neuron
assert seen((Q(-4), Q(1))) == [0, 17]
margin_A_squared = Q(1, 2) ** 2
# a = sqrt(17) c: (17 a c)^2 = 17^3 c^4, and |W|^2 = 2 (a^2 + 17 c^2) = 4 * 17 c^2
margin_B_squared = Q(17**3, (4 * 17) ** 2)
assert margin_B_squared == Q(17, 16)
assert margin_B_squared > margin_A_squared
print("refuted: margins of the limits are 1/2 from one start and sqrt(17)/4 from another")
print("holds of what a linear net computes")
