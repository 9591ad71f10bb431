"""A run as the command line names it: a model from a Python file, data from a file of arrays, a loss in words."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from gradlab.checking.models.from_file import model_of
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Square
from gradlab.problem.problem import Problem
from gradlab.specification.files import existing, own_data
from gradlab.specification.sources import of_last_column
from gradlab.store import checkpoints, foreign
from gradlab.wording import brief, quoted

_LOSSES: dict[str, Callable[[str], Loss]] = {
    "square": lambda reduction: Square(reduction),
    "half-square": lambda reduction: Square(reduction, half=True),
    "exponential": lambda reduction: Exponential(reduction),
    "logistic": lambda reduction: Logistic(reduction),
    "cross-entropy": lambda reduction: CrossEntropy(reduction),
}
#: What libraries call them, without signs between words; ``mse`` is no name of one, since it divides by outputs too.
_ALSO = {
    "crossentropy": "cross-entropy", "crossentropyloss": "cross-entropy", "ce": "cross-entropy",
    "softmaxcrossentropy": "cross-entropy", "sparsecategoricalcrossentropy": "cross-entropy", "nll": "cross-entropy",
    "bce": "logistic", "bcewithlogits": "logistic", "bcewithlogitsloss": "logistic", "softmargin": "logistic",
    "binarycrossentropy": "logistic", "softmarginloss": "logistic", "halfsquare": "half-square", "squared": "square",
    "exp": "exponential", "leastsquares": "square",
}  # fmt: skip
_MEAN_SQUARES = ("mse", "mseloss", "l2", "l2loss", "meansquarederror", "meansquare")
#: Names under which files keep inputs and targets.
_INPUTS, _TARGETS = (
    ("inputs", "x", "X", "x_train", "X_train", "images"),
    ("targets", "y", "Y", "y_train", "labels"),
)
_WRITE = "write numpy.savez('data.npz', inputs=…, targets=…)"
_TEST = (("test_inputs", "x_test", "X_test"), ("test_targets", "y_test", "test_labels"))


def loss_of(words: str) -> Loss:
    """A loss from its name, and ``sum`` where it is the sum over examples and not their mean.

    Raises
    ------
    ValueError
        For another name; the nearest is named.
    """
    parts = words.lower().replace("_", "-").split()
    reduction = next((part for part in parts if part in ("sum", "mean")), "mean")
    name = "-".join(part for part in parts if part not in ("sum", "mean"))
    plain = name.replace("-", "")
    name = _ALSO.get(plain, name)
    if name in _LOSSES:
        return _LOSSES[name](reduction)
    if plain in _MEAN_SQUARES:
        raise ValueError(
            f"--loss was {quoted(words)}; write square, the mean over examples of the sum over outputs: where yours "
            "was a mean over C outputs too, your learning rate counts C times less"
        )
    close = get_close_matches(name, _LOSSES, n=1)
    hint = (
        f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_LOSSES)}, each with mean or sum"
    )
    raise ValueError(f"--loss was {quoted(words)}; {hint}")


def data_of(path: Path, loss: Loss) -> Data:
    """Data of an ``.npz`` file with ``inputs`` and ``targets`` (or ``x`` and ``y``), and a test split if there is one.

    A CSV file is read as ``gradlab data show`` says, its last column for the targets.

    Raises
    ------
    ValueError
        If it cannot be read, or holds neither; what is there is named.
    """
    path = existing(path, "--data")
    if path.suffix.lower() in (".csv", ".tsv", ".txt", ".data"):
        return own_data(of_last_column(path), loss.labels, path.parent)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"--data: {brief(str(path))} is no .npz or CSV file; {_WRITE}")
    with foreign.opened(path, foreign.LARGEST, ".npz") as file:
        names = foreign.array_names(file, path)
        wanted = [_first(names, every) for every in (_INPUTS, _TARGETS, *_TEST)]
        if wanted[0] is None or wanted[1] is None:
            raise ValueError(
                f"--data: {brief(str(path))} holds {brief(', '.join(names)) or 'no arrays'}; name its arrays "
                f"inputs and targets: {_WRITE}"
            )
        try:
            found = foreign.arrays(file, path, [name for name in wanted if name is not None])
        except foreign.Unreadable as error:
            if "<U" in str(error) or "Python objects" in str(error):
                text = "numpy.unique(labels.astype(str), return_inverse=True)[1]"
                raise foreign.Unreadable(f"{error}; of text write {text}") from error
            raise
    given = [None if name is None else found[name] for name in wanted]
    if loss.labels == "real":
        given = [a[:, None] if a is not None and k % 2 and a.ndim == 1 else a for k, a in enumerate(given)]
    return Data(given[0], given[1], given[2], given[3])


def _first(names: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((name for name in wanted if name in names), None)


def told_run(
    folder: Path, model: str, data: Path, loss: str | None, optimiser: str | None
) -> tuple[Problem, checkpoints.Folder, str]:
    """(problem, checkpoints, words of the optimiser); what is not said is taken from a Probe's manifest.

    Raises
    ------
    ValueError
        Where something is missing or cannot be read, as one sentence.
    """
    found = checkpoints.read_folder(folder)
    said = loss or str(found.manifest.get("loss") or "")
    if not said:
        raise ValueError(
            f"--loss is missing, and the checkpoints do not say it; write one of {', '.join(_LOSSES)}"
        )
    kind = loss_of(said)
    read = data_of(data, kind)
    problem = Problem(model_of(model, found, read), kind, read)
    return problem, found, optimiser or str(found.manifest.get("optimiser") or "")
