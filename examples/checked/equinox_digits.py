"""An Equinox MLP on scikit-learn's digits, trained by optax with one line of gradlab in the loop, then checked.

python examples/checked/equinox_digits.py [FOLDER]
"""

import sys
import tempfile

import equinox as eqx
import jax
import numpy as np
import optax

import gradlab as gl

EXAMPLES, STEPS, RATE = 40, 1000, 0.3


def main(folder: str, steps: int = STEPS):
    """Train, with checkpoints in the folder, and check."""
    full = gl.data.digits()
    x = np.asarray(full.inputs[:EXAMPLES], np.float32).reshape(EXAMPLES, -1)
    y = np.asarray(full.targets[:EXAMPLES])
    model = eqx.nn.MLP(64, 10, 16, 1, use_bias=False, use_final_bias=False, key=jax.random.key(0))
    optimiser = optax.sgd(RATE)
    probe = gl.Probe(folder, optimiser=f"sgd lr={RATE}", loss="cross-entropy")

    @eqx.filter_jit
    def step(model, state):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

        updates, state = optimiser.update(eqx.filter_grad(loss)(model), state)
        return eqx.apply_updates(model, updates), state

    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    for _ in range(steps):
        probe(model)
        model, state = step(model, state)
    probe(model, last=True)

    return gl.check(
        gl.Problem(gl.models.network_of(model, x), gl.CrossEntropy("mean"), gl.Data(x, y)), folder
    )


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
