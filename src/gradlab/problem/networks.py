"""The architectures, each in a file of its own."""

from __future__ import annotations

from gradlab.problem.convolutional import Convolutional
from gradlab.problem.dense import Dense
from gradlab.problem.function import Function
from gradlab.problem.network import Network
from gradlab.problem.pooled import Pooled
from gradlab.problem.residual import Residual

__all__ = ["Convolutional", "Dense", "Function", "Network", "Pooled", "Residual"]
