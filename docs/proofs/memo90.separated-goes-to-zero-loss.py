"""memo90.separated-goes-to-zero-loss: missing hypothesis.

Statement (memo 90, section 5.1): "Note that we assume that gradient descent has found a set of weights that
separate the training data that is y_n f(x_n; W) > 0 for all n. It is easy to see that under this assumption GD
converges then to zero loss for t -> infinity" (exponential loss, sum e^(-f_n), labels 1).

Counterexample. f = a relu(w.x), unit inputs x_1 (three times) and x_2 with x_1.x_2 = -1/2. With z_i = w.x_i > 0,
E_i = e^(-a z_i): z_1' = a (3 E_1 - E_2/2), z_2' = a (E_2 - (3/2) E_1), a' = 3 z_1 E_1 + z_2 E_2.
Start: a = 1, z_1 = 1/20, z_2 = 1/1000. All margins a z_i are positive.

Why it decides. As long as 0 < a <= 11/10, z_i <= 1/10 and z_2 > 0, speeds are bounded: |z_1'| <= 3 a, a' <= 3 z_1 +
z_2, z_2' <= a (1 - (3/2)(1 - a z_1)). In T = 1/100 these keep a and z_1 where they are assumed, and z_2 falls by more
than 1/1000: it reaches 0. Then x_2 is not seen; z_2' = -(3/2) a e^(-a z_1) < 0, so it is never seen again: f(x_2) = 0
and L >= 1 for ever.

What saves it. L < 1 at the moment at which the data are separated: then no margin can reach 0, as L falls.
"""

from fractions import Fraction as Q

c, copies = Q(1, 2), 3
a0, z1, z2, T = Q(1), Q(1, 20), Q(1, 1000), Q(1, 100)
a_top, z_top = Q(11, 10), Q(1, 10)

# the bounds hold over the time T if they are not reached by the greatest speeds
assert a0 + T * (copies * z_top + z_top) <= a_top
assert z1 + T * copies * a_top <= z_top
assert z1 - T * copies * a_top > 0
assert a0 * z1 > 0 < a0 * z2

# e^(-u) >= 1 - u: the pull of x_2 on itself is at most 1, that of the copies of x_1 at least 3 c (1 - a z_1)
steepest = 1 - copies * c * (1 - a_top * z_top)
assert steepest < 0
fall = -a0 * steepest * T  # a does not fall
assert fall > z2
print("refuted: separated with all margins positive, and one is lost for ever before t = 1/100")

# with L < 1 a margin 0 would mean L >= 1 later, and L does not increase; here L > 1 at first:
assert copies * (1 - a0 * z1) + (1 - a0 * z2) > 1
print("holds where L < 1; here L > 1 at the start")
