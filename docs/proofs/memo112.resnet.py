"""memo112.resnet: missing hypothesis (linear blocks, or the activation pattern of the residual net itself).

Statement (memo 112, section 3.2): ResNets "are equivalent to the combination of a set of neworks with different
depths from 2 to L layers and shared weights".

Counterexample. Width one, two blocks, ReLU, W_in = W_out = 1: f = h + max(W_2 h, 0), h = x + max(W_1 x, 0), at
W = (-2, 1), x = -1.

Why it decides. h = -1 + 2 = 1 and f = 2. The nets of the four subsets of blocks give -1, 2, max(W_2 x, 0) = 0 and
max(W_2 max(W_1 x, 0), 0) = 2, whose sum is 3: the second block alone sees x = -1 and is silent, in the residual net it
sees h = 1.

What saves it. Linear blocks; or the slopes that the residual net has at this input in every net of the sum: here both
blocks are active, and -1 + 2 + (-1) + 2 = 2.
"""

from fractions import Fraction as Q

W1, W2, x = Q(-2), Q(1), Q(-1)


def relu(z):
    """max(z, 0)."""
    return max(z, Q(0))


h = x + relu(W1 * x)
f = h + relu(W2 * h)
own = x + relu(W1 * x) + relu(W2 * x) + relu(W2 * relu(W1 * x))
assert f != own
print(f"refuted: the residual net gives {f}, the nets of all subsets add up to {own}")
D1, D2 = int(W1 * x > 0), int(W2 * h > 0)
assert f == x + D1 * W1 * x + D2 * W2 * x + D2 * W2 * D1 * W1 * x
print("repaired: with the residual net's own activation pattern the sum is its output")
