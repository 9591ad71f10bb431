"""Claims, their studies and verdicts; the public names stand in the table of :mod:`gradlab`."""

import sys
from types import ModuleType
from typing import Any

from gradlab import _reader

__getattr__, __dir__ = _reader("claims")


class _Claims(ModuleType):
    """The package: its name ``study`` is the function that makes one, not the file where that stands."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "study" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Claims
