"""Claims, their studies and verdicts; the public names stand in the table of :mod:`gradlab`."""

from gradlab import _reader

__getattr__, __dir__ = _reader("claims")
