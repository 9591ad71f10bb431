"""Real data that come with scikit-learn: digits, breast cancer, diabetes. Nothing is downloaded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.problem.dataset import Data


def digits(
    classes: Sequence[int] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    labels: str = "class",
    *,
    flat: bool = True,
) -> Data:
    """These are 8×8 handwritten digits, 1 797 images of 10 classes, pixels divided by 16.

    Parameters
    ----------
    classes : digits to keep, in this order numbered 0, 1, …; None keeps the ten.
    test_fraction : share of the examples in the test split, drawn at random by ``seed``; 0 for no split.
    labels : "class" int64 (N,); "sign" ±1 (N,), the first of two classes −1; "onehot" (N, C).
    flat : inputs (N, 64), else (N, 1, 8, 8).

    Raises
    ------
    ValueError
        For classes that there are not, signs of other than two, or a fraction outside [0, 1).

    Examples
    --------
    >>> import gradlab as gl
    >>> data = gl.data.digits(classes=(0, 1), labels="sign", test_fraction=0.0)
    >>> data.inputs.shape, sorted(set(data.targets.tolist()))
    ((360, 64), [-1.0, 1.0])
    """
    from sklearn.datasets import load_digits

    chosen = tuple(range(10)) if classes is None else tuple(classes)
    if len(chosen) < 2 or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(10)):
        raise ValueError(f"classes are two or more different digits 0 … 9; {chosen} was given")
    if labels not in ("class", "sign", "onehot"):
        raise ValueError(f"labels are 'class', 'sign' or 'onehot', not {labels!r}")
    if labels == "sign" and len(chosen) != 2:
        raise ValueError(f"labels 'sign' need two classes, e.g. classes=(3, 8); there are {len(chosen)}")
    images, numbers = load_digits(return_X_y=True)
    kept = np.isin(numbers, chosen)
    position = np.zeros(10, dtype=np.int64)
    position[list(chosen)] = np.arange(len(chosen))
    inputs, index = images[kept] / 16.0, position[numbers[kept]]
    if labels == "onehot":
        targets: np.ndarray = np.eye(len(chosen))[index]
    else:
        targets = index if labels == "class" else 2.0 * index - 1.0
    inputs = inputs if flat else inputs.reshape(-1, 1, 8, 8)
    train, test = split_rows(len(inputs), test_fraction, seed)
    what = f"scikit-learn's digits {chosen} as {labels}, pixels / 16"
    return _data(inputs, targets, train, test, what)


def breast_cancer(test_fraction: float = 0.2, seed: int = 0, labels: str = "sign") -> Data:
    """These are Wisconsin diagnoses, 569 rows of 30 features: malignant −1 (class 0), benign +1 (class 1).

    Features are standardised by mean and deviation of the training split.

    Examples
    --------
    >>> import gradlab as gl
    >>> data = gl.data.breast_cancer(test_fraction=0.0)
    >>> data.inputs.shape, sorted(set(data.targets.tolist()))
    ((569, 30), [-1.0, 1.0])
    """
    from sklearn.datasets import load_breast_cancer

    if labels not in ("class", "sign"):
        raise ValueError(f"labels are 'class' or 'sign', not {labels!r}")
    inputs, numbers = load_breast_cancer(return_X_y=True)
    targets = numbers.astype(np.int64) if labels == "class" else 2.0 * numbers - 1.0
    train, test = split_rows(len(inputs), test_fraction, seed)
    what = f"scikit-learn's breast cancer as {labels}, standardised"
    return _data(_standardised(inputs, train), targets, train, test, what)


def diabetes(test_fraction: float = 0.2, seed: int = 0) -> Data:
    """These are 442 patients: 10 features and the progression of diabetes after a year, all standardised.

    By mean and deviation of the training split.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.data.diabetes(test_fraction=0.5).test_inputs.shape
    (221, 10)
    """
    from sklearn.datasets import load_diabetes

    inputs, progression = load_diabetes(return_X_y=True)
    train, test = split_rows(len(inputs), test_fraction, seed)
    targets = _standardised(progression[:, None], train)
    return _data(_standardised(inputs, train), targets, train, test, "scikit-learn's diabetes, standardised")


def split_rows(count: int, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test split, each in the order of the source."""
    if not 0.0 <= test_fraction < 1.0:
        raise ValueError(f"test_fraction was {test_fraction!r}; give a number in [0, 1)")
    order = np.random.default_rng(seed).permutation(count)
    tested = round(test_fraction * count)
    return np.sort(order[tested:]), np.sort(order[:tested])


def _standardised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (values - values[train].mean(axis=0)) / values[train].std(axis=0)


def _data(
    inputs: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray, provenance: str
) -> Data:
    split: tuple[Any, Any] = (inputs[test], targets[test]) if test.size else (None, None)
    return Data(inputs[train], targets[train], *split, provenance=provenance)
