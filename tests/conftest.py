"""Every test runs in float64; real data, where a test wants it, is found through GRADLAB_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
os.environ.setdefault("MPLBACKEND", "Agg")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if SHARED_DATA.is_dir():
    os.environ.setdefault("GRADLAB_DATA", str(SHARED_DATA))
