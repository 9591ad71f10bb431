"""Hessian spectra with error bars: eigenvalues with residual bounds, spectral density, trace."""

from gradlab.observe.spectrum.density import Density, Trace, density, trace
from gradlab.observe.spectrum.operators import Hessian, Matrix, Operator
from gradlab.observe.spectrum.spectrum import DENSE, Spectrum, spectrum

__all__ = [
    "DENSE",
    "Density",
    "Hessian",
    "Matrix",
    "Operator",
    "Spectrum",
    "Trace",
    "density",
    "spectrum",
    "trace",
]
