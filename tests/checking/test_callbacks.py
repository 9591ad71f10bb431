"""Callbacks keep the checkpoints of a Probe in the loops of other trainers, and change no bit of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.checking import callbacks
from gradlab.checking.probe import due
from gradlab.store import checkpoints

STEPS = 12


def bits(model: Any) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def kept(folder: Path) -> None:
    found = checkpoints.read_folder(folder)
    assert [one.step for one in found.checkpoints] == [step for step in range(STEPS) if due(step)] + [STEPS]
    assert found.manifest["optimiser"] == "sgd lr=0.1 momentum=0 decay=0"


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's own, of newer torch
def test_lightning(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("pytorch_lightning")

    class Model(library.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(3, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return (self.net(batch[0]) ** 2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trained(*asked: Any) -> Any:
        torch.manual_seed(0)
        model, data = Model(), torch.utils.data.TensorDataset(torch.ones(8, 3))
        trainer = library.Trainer(
            max_steps=STEPS, callbacks=list(asked), logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=4))
        return model

    assert bits(trained(callbacks.lightning(tmp_path, loss="square"))) == bits(trained())
    kept(tmp_path)


def test_hugging_face(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            return {"loss": (self.net(x) ** 2).mean()}

    def trained(*asked: Any) -> Any:
        torch.manual_seed(0)
        model = Model()
        settings = library.TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=STEPS, learning_rate=0.1, optim="sgd", report_to=[],
            lr_scheduler_type="constant", save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        data = [{"x": np.ones(3, np.float32)} for _ in range(8)]
        library.Trainer(model=model, args=settings, train_dataset=data, callbacks=list(asked)).train()
        return model

    assert bits(trained(callbacks.hugging_face(tmp_path / "run", loss="square"))) == bits(trained())
    kept(tmp_path / "run")
