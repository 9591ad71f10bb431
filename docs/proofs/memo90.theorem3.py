"""memo90.theorem3: false.

Statement (memo 90, section 5.3): "Given an exponential loss function and training data that are nonlinearly
separable [...] around an asymptotic equilibrium: 1. the gradient flow induced by GD is topologically equivalent
to the linearized flow; 2. the solution is the local (for the specific minimum) minimum Frobenius norm solution
for the weight matrices at each layer."

Counterexample. f = a_1 relu(w_1.x) + a_2 relu(w_2.x), inputs (4, 1) and (-4, 1), both of label 1. Start:
w_1 = (0, b), a_1 = b, w_2 = (0, -1), a_2 = 1. No input sees the second neuron: it stands still. By symmetry
w_1 stays (0, b), a_1 = b, and both margins are b^2, growing without end: the data are separated, and
W/|W| tends to (w_1, a_1) = (0, 1, 1)/sqrt(2), the second neuron 0.

Why it decides. 2: the least norm at margins 1 is the largest margin m/|W|^2, which is 1/2 at the limit. Beside it,
with w_1 = (-17t/2, 1), a_1 = 1, a second neuron w_2 = e (4, 1), a_2 = 4 e, e^2 = t, both margins are 1 + 34 t and
|W|^2 = 2 + 33 t + (17t/2)^2: a larger margin for every small t > 0. Starts near by end there too, since w_2 is seen
by no input in an open set. 1: <W, -grad L> = 2 (b^2 e^(-b^2)) 2 > 0 where f separates: the flow has no
equilibrium, the linearised flow has one, 0.

What saves it. W/|W| tends to a KKT point of the largest margin, perhaps a saddle; for linear nets it is the
maximum. With decay there is an equilibrium, and where its Hessian is definite the flows are conjugate.
"""

from fractions import Fraction as Q

X = ((4, 1), (-4, 1))


def dot(u, v):
    return sum(a * b for a, b in zip(u, v, strict=True))


def margins(neurons):
    return [sum(a * max(dot(w, x), Q(0)) for w, a in neurons) for x in X]


# the symmetric set is invariant: the pull on w_1, at equal margins, is along (0, 1), as large as that on a_1
assert [sum(x[i] for x in X) for i in (0, 1)] == [0, 2]
assert [dot((0, 1), x) for x in X] == [1, 1]
assert all(dot((0, -1), x) < 0 for x in X)  # unseen, with room to spare
at_limit = Q(1, 2)
assert margins([((Q(0), Q(1)), Q(1)), ((Q(0), Q(0)), Q(0))]) == [1, 1]
for t in (Q(1, 100), Q(1, 10000), Q(1, 10**8)):
    e = Q(1, 10) if t == Q(1, 100) else Q(1, 100) if t == Q(1, 10000) else Q(1, 10**4)
    assert e * e == t
    first, second = ((-Q(17, 2) * t, Q(1)), Q(1)), ((4 * e, e), 4 * e)
    assert margins([first, second]) == [1 + 34 * t] * 2
    size = sum(dot(w, w) + a * a for w, a in (first, second))
    assert min(margins([first, second])) / size > at_limit
print("refuted: the limit has margin 1/2, and points at distance sqrt(33 t) of it have a larger one")
print("and where both margins are positive <W, -grad L> > 0: there is no equilibrium")
