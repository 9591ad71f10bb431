"""memo112.lemma1: missing hypothesis (one degree for all layers; it holds for the ReLU nets that the memo
means).

Statement (memo 112, section 2.3): "We consider the dynamical system induced by GD on a deep net with RELUs.
[...] Lemma 1. d rho_k^2/dt is independent of k. [We use it] to claim that all rho_k are the same at all
times. Thus rho = rho_k^L", with rho_k the norm of the weights W_k of layer k.

Counterexample, where the lemma is read for every homogeneous net. Two layers, one unit each, squared ReLU
sigma(z) = max(z, 0)^2: f = W_2 sigma(W_1 x), x = 1, y = 0, L = f^2, at W = (2, 2): equal norms, the unit
active, f = 8. d rho_1^2/dt = -2 W_1 dL/dW_1 = -512 and d rho_2^2/dt = -2 W_2 dL/dW_2 = -256.

Why it decides. The two rates differ, so that norms that are equal now are not a moment later. In general,
with f homogeneous of degree d_k in W_k, Euler's identity W_k . df/dW_k = d_k f gives d rho_k^2/dt = -2 d_k
sum_n l'(f_n) f_n, in which d_k alone depends on k; here d = (2, 1).

What saves it. A hypothesis that the memo has in its words and not in its lemma: f is of the same degree in
every layer. Linear, ReLU and leaky ReLU nets without biases have degree one (below: the same weights with
ReLU). Else the lemma holds for rho_k^2/d_k, and rho_1^2/d_1 - rho_2^2/d_2 is conserved.
"""

from flint import fmpq_mpoly_ctx

W1, W2 = fmpq_mpoly_ctx.get(("W1", "W2")).gens()
here = (2, 2)


def rates(f):
    """d rho_k^2/dt along dW/dt = -dL/dW, L = f^2 (y = 0), for the two layers, as polynomials."""
    loss = f**2
    return [-2 * w * loss.derivative(k) for k, w in enumerate((W1, W2))]


assert here[0] == here[1] > 0  # equal norms; the unit is active, so that f is the polynomial below nearby
first, second = rates(W2 * W1**2)
assert (first(*here), second(*here)) == (-512, -256)
print("refuted without the hypothesis: squared ReLU, W = (2, 2): the rates are -512 and -256")
assert first / 2 - second == 0
print("repaired: the rates over the degrees (2, 1) are equal, for all weights that keep the unit active")
first, second = rates(W2 * W1)
assert first == second
assert first != 0
print("holds for ReLU, degree one in each layer: the rates are equal, as printed")
