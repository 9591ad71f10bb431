"""notes.deep-hessian: misprint (sign).

Statement (lecture notes, "Deep nets, square loss"): "For general networks the gradient equations are
W' = -dL/dW = - sum E_n df/dW (- lambda W)" and "H = d2L/dWdW = sum df/dW df/dW - E_n d2f/dW dW (- lambda I)".
The brackets hold the terms of weight decay. The notes do not say again what E_n is: it is y_n - f(x_n) in
their linear section ("lambda W = sum E_n x_n, sum (y_n - W x_n) x_n") and f(x_n) - y_n further down.

Counterexample. f = w2 (w1 x)^2 (a polynomial activation, as in "the deep polynomial case"), one example
x = 1, y = 0, at w = (1, 1), and L = E^2/2 + lambda/2 |w|^2, the loss for which no constant is missing. Then
f = 1 and -grad L = -(2, 1) - lambda (1, 1), hess L = ((6, 4), (4, 1)) + lambda I.

Why it decides. With E = y - f the printed velocity is wrong without decay, the printed Hessian only in the
sign of lambda. With E = f - y the velocity is right, and the printed Hessian is wrong in both of its other
terms. So no reading of E makes the two lines true together; another factor in front of the loss multiplies
all terms without lambda by one positive number and changes no sign.

What saves it. One sign in each line: with E = y - f, W' = + sum E df - lambda W and H = sum df df - E
d2f + lambda I. What the notes conclude stands: at a zero of L with lambda = 0 and fewer examples than weights
H is degenerate (below: at y = 1).
"""

from flint import fmpq, fmpq_mpoly_ctx

R = fmpq_mpoly_ctx.get(("w1", "w2"))
w1, w2 = R.gens()
f = w2 * w1**2
W = (1, 1)


def gradient(p):
    return [p.derivative(i)(*W) for i in range(2)]


def hessian(p):
    return [[p.derivative(i).derivative(j)(*W) for j in range(2)] for i in range(2)]


def velocity_and_hessian(y, decay):
    loss = ((y - f) ** 2 + decay * (w1**2 + w2**2)) * fmpq(1, 2)
    return [-g for g in gradient(loss)], hessian(loss)


def formulas(E, decay, signs):  # the signs before E df, lambda W, E d2f, lambda I
    g, h, (a, b, c, d) = gradient(f), hessian(f), signs
    both = range(2)
    H = [[g[i] * g[j] + c * E * h[i][j] + d * decay * (i == j) for j in both] for i in both]
    return [a * E * g[i] + b * decay * W[i] for i in both], H


for decay in (0, fmpq(1, 2)):
    for E in (-1, 1):  # y - f and f - y at y = 0
        assert formulas(E, decay, (-1, -1, -1, -1)) != velocity_and_hessian(0, decay)
    assert formulas(-1, decay, (1, -1, -1, 1)) == velocity_and_hessian(0, decay)
print("refuted as printed: with neither sign of E are both lines true, with or without decay")
(a, b), (c, d) = velocity_and_hessian(1, 0)[1]
assert a * d == b * c
print("repaired by one sign a line: E = y - f, W' = sum E df - lambda W, H = sum df df - E d2f + lambda I")
