"""Certificates: statements about a run or a point that are proved, a priori or in ball arithmetic."""

from gradlab.analysis.certificates.certificate import Certificate, certify
from gradlab.analysis.certificates.flow_enclosure import FlowEnclosure, enclose_flow, scalar_velocity
from gradlab.analysis.certificates.rates import Hypothesis, RateCertificate, arora_certificate

__all__ = [
    "Certificate",
    "FlowEnclosure",
    "Hypothesis",
    "RateCertificate",
    "arora_certificate",
    "certify",
    "enclose_flow",
    "scalar_velocity",
]
