"""memo90.regularised-exp-form: misprint (an index).

Statement (memo 90, section 11.2, between eqs. 24 and 25, y_n absorbed, separable data): "The minimum is given
by sum_n x_n e^(-x_n.w) = lambda w, which can be solved by w = sum_n k_n x_n with e^(-k_n x_n . sum_j
x_j) = k_n lambda for n = 1, ..., N." (That is the minimum of L + lambda |w|^2/2.)

Counterexample. lambda = 1, points 1 and 2 on a line. As printed k_1 = e^(-3 k_1) > 0.3495 and
k_2 = e^(-6 k_2) > 0.238, which makes w = k_1 + 2 k_2 > 0.8255; the minimum, e^-w + 2 e^(-2w) = w, is below
0.825. And for (1, 0), (-2, 1), separable by (1, 3), x_1.(x_1 + x_2) = -1: the printed equation e^(k_1) = k_1
lambda has no solution for any lambda <= 1, since e^k >= 1 + k > k, while the minimum exists for every
lambda > 0 (the loss is strictly convex and coercive).

Why it decides. Each equation k = e^(-c k) with c > 0 has one solution, as e^(-c k) - k falls; its sign at a
rational number, decided in ball arithmetic, tells on which side the solution lies. The same holds for the
minimum.

What saves it. k_j under the sum in the place of k_n before it: e^(-x_n . sum_j k_j x_j) = k_n lambda. Then
w = sum k_n x_n satisfies the equation of the minimum by insertion, and conversely k_n = e^(-x_n.w)/lambda. On
the example: k_1 and k_2 of the minimum satisfy the repaired equations and not the printed ones. The print
agrees with this for one example, orthogonal examples, or equal k_n. What the memo concludes from eq. 25 does
not depend on it.
"""

from flint import arb, fmpq

x = (1, 2)


def exp(number):
    return arb(number).exp()


def slope(w):
    """sum x e^(-x w) - w, which falls: positive below the minimum, negative above."""
    return sum(a * exp(-a * w) for a in x) - w


k1, k2, w = fmpq(3495, 10000), fmpq(238, 1000), fmpq(825, 1000)
assert exp(-3 * k1) > k1
assert exp(-6 * k2) > k2
assert slope(w) < 0 < x[0] * k1 + x[1] * k2 - w
print("refuted as printed: k_1 + 2 k_2 > 0.8255, and the minimum is at w < 0.825")
first, second = (1, 0), (-2, 1)
assert first[0] * (first[0] + second[0]) + first[1] * (first[1] + second[1]) == -1
assert all(point[0] + 3 * point[1] > 0 for point in (first, second))
print("refuted as printed: for (1, 0), (-2, 1) k_1 would solve e^k = k lambda, impossible for lambda <= 1")

low, high = fmpq(0), fmpq(1)
for _ in range(40):
    middle = (low + high) / 2
    low, high = (middle, high) if slope(middle) > 0 else (low, middle)
assert slope(low) > 0 > slope(high)
w = arb(low).union(arb(high))
k = [(-a * w).exp() for a in x]  # balls that hold the k_n of the minimum
total = x[0] * k[0] + x[1] * k[1]
assert abs(total - w) < 1e-11
assert all(abs((-a * total).exp() - b) < 1e-11 for a, b in zip(x, k, strict=True))
assert all(not (-a * b * sum(x)).exp().overlaps(b) for a, b in zip(x, k, strict=True))
print("repaired: with k_j under the sum the k_n of the minimum satisfy the equations, and not as printed")
