"""The checker behind jaxtyping's annotations in tests: ints count as floats (PEP 484's tower)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

shapes = beartype(conf=BeartypeConf(is_pep484_tower=True))
