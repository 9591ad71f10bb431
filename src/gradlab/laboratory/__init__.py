"""The laboratory drives runs: integrate from record to record, keep segments, report progress, resume."""

from gradlab.laboratory.driving import Store, segment_length, strong
from gradlab.laboratory.progress import PROGRESS, Progress, report_progress
from gradlab.laboratory.running import at, describe, member, run

__all__ = [
    "PROGRESS",
    "Progress",
    "Store",
    "at",
    "describe",
    "member",
    "report_progress",
    "run",
    "segment_length",
    "strong",
]
