"""memo90.penalty-hessian: false (for lambda_k = 0).

Statement (memo 90, section 13, of the Hessian of -L with respect to V_k, eq. 52): "Thus the Hessian is negative
semidefinite for lambda_k = 0 for large times because the absolute value of the first term decreases more slowly
than the second term. However, it is asymptotically negative definite with any lambda_k > 0."

Counterexample. f = a1 b1 + a2 b2 (two layers, two hidden units), one example x = y = 1, V = (a; b) = (1, 0; 1, 0).
With r = rho the Hessian of -e^(-r f), over e^(-r f), is -r^2 df df' + r ddf.

Why it decides. Along (a2, b2) = (1, 1) the derivative df vanishes, and r ddf is 2 r > 0, at every time.

What saves it. With the multipliers that hold the norms, 2 lambda_k = r f e^(-r f), the same direction gets
2 r - 2 r = 0, and (1, -1) gets -4 r: semidefinite on the tangents of the spheres.
"""

from flint import fmpq_mat, fmpq_mpoly_ctx

a1, a2, b1, b2 = weights = fmpq_mpoly_ctx.get(("a1", "a2", "b1", "b2")).gens()
f, V = a1 * b1 + a2 * b2, (1, 0, 1, 0)
first = fmpq_mat([[f.derivative(i)(*V)] for i in range(4)])
second = fmpq_mat([[f.derivative(i).derivative(j)(*V) for j in range(4)] for i in range(4)])


def along(rho, direction, decay=0):
    """The form of eq. 52 over e^(-rho f), lambda_k = decay in the same unit."""
    u = fmpq_mat([[one] for one in direction])
    H = -(rho**2) * first * first.transpose() + rho * second
    return (u.transpose() * H * u)[0, 0] - 2 * decay * (u.transpose() * u)[0, 0]


assert f(*V) == 1
for rho in (1, 10, 1000):
    assert along(rho, (0, 1, 0, 1)) == 2 * rho > 0
print("refuted: along (a2, b2) = (1, 1) the form is 2 rho e^(-rho) > 0 at every rho")
for rho in (1, 10, 1000):
    decay = fmpq_mat([[rho * f(*V)]])[0, 0] / 2
    assert along(rho, (0, 1, 0, 1), decay) == 0
    assert along(rho, (0, 1, 0, -1), decay) == -4 * rho
print("holds with the multipliers of the constraints: 0 and -4 rho on the tangents")
