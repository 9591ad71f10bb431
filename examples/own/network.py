"""A network of one's own: any apply(weights, x) over any pytree of weights, and initial(key).

gradlab run examples/own/network.toml --code examples/own/network.py
"""

import jax
import jax.numpy as jnp


def apply(weights, x):
    """Fourier features with trained frequencies: (N, 2) inputs to (N, 1) outputs."""
    phase = x @ weights["frequencies"]
    return jnp.cos(phase) @ weights["cosine"] + jnp.sin(phase) @ weights["sine"]


def initial(key):
    """Eight random frequencies, small amplitudes."""
    one, two, three = jax.random.split(key, 3)
    return {
        "frequencies": jax.random.normal(one, (2, 8)),
        "cosine": 0.1 * jax.random.normal(two, (8, 1)),
        "sine": 0.1 * jax.random.normal(three, (8, 1)),
    }
