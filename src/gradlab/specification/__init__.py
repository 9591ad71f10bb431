"""Specifications: a problem and its run, from a TOML file."""

from gradlab.specification.code import load as load_code
from gradlab.specification.design import Design, design
from gradlab.specification.experiment import Experiment, build
from gradlab.specification.reading import parse, read, tables
from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError

__all__ = [
    "Design",
    "Experiment",
    "Specification",
    "SpecificationError",
    "build",
    "design",
    "load_code",
    "parse",
    "read",
    "tables",
]
