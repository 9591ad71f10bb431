"""What is said of an optimiser, in words such as ``sgd lr=0.1 momentum=0.9``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gradlab.wording import quoted

#: Names: ``gd`` takes the gradient of all examples, ``sgd`` nothing of batches, the others are no gradient descent.
NAMES = ("gd", "sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "muon", "lbfgs")
_KEYS = {
    "lr": "lr", "learning_rate": "lr", "step": "lr", "momentum": "momentum", "decay": "decay",
    "weight_decay": "decay", "wd": "decay", "batch": "batch", "batch_size": "batch", "dropout": "dropout",
    "label_noise": "label_noise",
}  # fmt: skip
_FLAGS = ("nesterov",)
_SHOWN = "lr=, momentum=, decay=, batch=, dropout=, label_noise=, nesterov"
#: A decimal comma, and signs between words; ``SGD(lr=0.1, nesterov=True)`` is read as well.
_COMMA, _SIGNS, _EQUALS = (
    re.compile(r"(\w+)\s*=\s*(\d+),(\d+)"),
    re.compile(r"[(),;]"),
    re.compile(r"\s*=\s*"),
)


@dataclass(frozen=True)
class StatedOptimiser:
    """What the words say; None is what they do not say, and is not taken for 0.

    Attributes
    ----------
    name : one of NAMES, or empty. lr, momentum, decay : η, μ and λ of W ← W + v, v ← μv − η(∇risk + λW).
    batch : examples in a step. dropout, label_noise : shares. nesterov : whether the word stands there.
    """

    name: str = ""
    lr: float | None = None
    momentum: float | None = None
    decay: float | None = None
    batch: float | None = None
    dropout: float | None = None
    label_noise: float | None = None
    nesterov: bool = False

    def __str__(self) -> str:
        parts = [self.name] if self.name else []
        for key in ("lr", "momentum", "decay", "batch", "dropout", "label_noise"):
            value = getattr(self, key)
            parts += [] if value is None else [f"{key}={value:g}"]
        return " ".join([*parts, *(["nesterov"] if self.nesterov else [])]) or "not said"


def parsed(given: Any) -> StatedOptimiser:
    """An StatedOptimiser from words, or from an object with ``param_groups`` as torch's have.

    ``gd`` and ``sgd`` without ``momentum`` or ``decay`` have none, as in every library; no word says what a batch was
    but ``gd``, all examples, and ``batch=``.

    Raises
    ------
    ValueError
        For a word that is none of these, or a number that cannot be; the sentence names the nearest.
    """
    if isinstance(given, StatedOptimiser):
        return given
    groups = getattr(given, "param_groups", None)
    if isinstance(groups, list | tuple) and groups:
        return parsed(_torch_words(type(given).__name__.lower(), groups))
    if not isinstance(given, str):
        raise ValueError(f"optimiser was {quoted(given)}; write words such as 'sgd lr=0.1 momentum=0.9'")
    if comma := _COMMA.search(given):
        raise ValueError(f"optimiser: {quoted(comma[0])} has a comma; write {comma[1]}={comma[2]}.{comma[3]}")
    said: dict[str, Any] = {}
    for number, word in enumerate(_EQUALS.sub("=", _SIGNS.sub(" ", given)).split()):
        key, equals, value = word.lower().partition("=")
        key = key.replace("-", "_")
        if not equals and number == 0 and key in NAMES:
            said["name"] = key
        elif key in _FLAGS and value in ("", "true", "false"):
            said[key] = value != "false"
        elif equals and key in _KEYS:
            if _KEYS[key] in said:
                raise ValueError(f"optimiser says {_KEYS[key]} twice; say it once")
            said[_KEYS[key]] = _number(key, value)
        else:
            raise ValueError(f"optimiser: {quoted(word)} is not known; {_hint(key, bool(equals), number)}")
    if said.get("name") in ("gd", "sgd"):
        said = {"momentum": 0.0, "decay": 0.0} | said
    return StatedOptimiser(**said)


def _hint(key: str, equals: bool, number: int) -> str:
    """What to write instead of a word that is none."""
    try:
        return f"write lr={float(key):g}"
    except ValueError:
        known = list(_KEYS) if equals else [*NAMES, *_FLAGS, *_KEYS]
    close = get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?" if equals or close[0] not in _KEYS else f"write {close[0]}=…"
    return f"there are {_SHOWN}" if equals or number else f"there are {', '.join(NAMES)}, and then {_SHOWN}"


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    positive = key in ("lr", "learning_rate", "step", "batch", "batch_size")
    if not math.isfinite(value) or value < 0.0 or (positive and value == 0.0):
        raise ValueError(
            f"optimiser: {key} was {quoted(text)}; write a number {'> 0' if positive else '≥ 0'}"
        )
    return value


def _torch_words(name: str, groups: Any) -> str:
    if len(groups) > 1 and len({str({k: g[k] for k in g if k != "params"}) for g in groups}) > 1:
        raise ValueError(
            "the optimiser has groups of parameters with settings of their own; say them in words"
        )
    group, words = groups[0], [name]
    for key, word in (("lr", "lr"), ("momentum", "momentum"), ("weight_decay", "decay")):
        if group.get(key) is not None:
            words.append(f"{word}={float(group[key])!r}")
    return " ".join([*words, *(["nesterov"] if group.get("nesterov") else [])])
