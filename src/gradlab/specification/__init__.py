"""Specifications: a problem and its run, from a TOML file."""

from gradlab.specification.code import load as load_code
from gradlab.specification.experiment import Experiment, build
from gradlab.specification.reading import parse, read
from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError

__all__ = ["Experiment", "Specification", "SpecificationError", "build", "load_code", "parse", "read"]
