"""Looks: what is seen of one case. A study's class inherits one, and the hypotheses that it measures."""

from gradlab.claims.looks.look import Look

__all__ = ["Look"]
