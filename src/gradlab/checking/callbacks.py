"""Callbacks for trainers of other libraries, each a Probe in the loop; they import nothing until they are made.

Write ``from gradlab.checking import callbacks``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradlab.checking.probe import Probe


def lightning(folder: str | Path, *, loss: str = "") -> Any:
    """A callback of Lightning: ``Trainer(callbacks=[callbacks.lightning("run", loss="cross-entropy")])``.

    Raises
    ------
    ImportError
        Where neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

    class ProbeCallback(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.probe = Probe(folder, module, trainer.optimizers[0], loss=loss)

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            self.probe(step=trainer.global_step)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.probe(step=trainer.global_step, last=True)

    return ProbeCallback()


def hugging_face(folder: str | Path, *, loss: str = "") -> Any:
    """A callback of Hugging Face: ``Trainer(…, callbacks=[callbacks.hugging_face("run", loss="cross-entropy")])``.

    Raises
    ------
    ImportError
        Where ``transformers`` is not installed.
    """
    from transformers import TrainerCallback

    class ProbeCallback(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.probe = Probe(folder, given["model"], _plain(given["optimizer"]), loss=loss)

        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.probe(step=state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.probe(step=state.global_step, last=True)

    return ProbeCallback()


def _plain(optimiser: Any) -> Any:
    """The optimiser inside what wraps it."""
    return getattr(optimiser, "optimizer", optimiser)
