"""Texts that were not written here, made fit for a message: on one line, printable, and short."""

from __future__ import annotations

from typing import Any


def brief(text: str, most: int = 200) -> str:
    """A text on one line, what cannot be printed written as an escape, cut to ``most`` characters.

    >>> brief("a\\x1b[31m red  line\\nof many", 14)
    'a\\\\x1b[31m red…'
    """
    flat = " ".join(text[: 8 * most + 8].split())
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in flat[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def quoted(value: Any, most: int = 60) -> str:
    """``repr(value)``, cut to ``most`` characters."""
    text = repr(value[: most + 1]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
