"""memo112.bounded-output: missing hypothesis (no weight is shared).

Statement (memo 112, section 2.2): "we assume ||x|| = 1 implying ||g_V(x)|| = ||f(x)|| <= 1 at convergence", with
||V_k|| = 1 in every layer.

Counterexample. A convolution in one dimension with the kernel (3/5, 4/5), of norm one, at the three places of
x = (1/2, 1/2, 1/2, 1/2), of norm one: its features are (7/10, 7/10, 7/10), positive, so that ReLU passes them. A
last layer along them has norm one.

Why it decides. f is the norm of the features, and its square 3 (7/10)^2 = 147/100 is larger than 1.

What saves it. Full layers: ||V h|| <= ||V||_F ||h||. A kernel at m overlapping places has
||V * h||^2 <= m ||h||^2, m the windows that see an entry; here m = 2.
"""

from fractions import Fraction as Q

kernel, x = (Q(3, 5), Q(4, 5)), (Q(1, 2),) * 4


def square(vector):
    """The square of the norm."""
    return sum(a * a for a in vector)


assert square(kernel) == square(x) == 1
places = [sum(k * x[i + j] for j, k in enumerate(kernel)) for i in range(len(x) - len(kernel) + 1)]
assert min(places) > 0
assert square(places) > 1
print(f"refuted: f^2 = {square(places)} > 1")
assert square(places) <= len(kernel) * square(x)
full = [kernel[0] * x[0] + kernel[1] * x[1]]
assert square(full) <= 1
print(f"repaired: below the {len(kernel)} windows that see an entry; used once, f^2 = {square(full)}")
