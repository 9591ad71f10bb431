"""The laboratory drives runs: integrate from record to record, keep segments, report progress, resume."""

from gradlab.laboratory.keeping import Store, segment_length, strong
from gradlab.laboratory.progress import PROGRESS, Progress, report_progress
from gradlab.laboratory.running import at, member, run

__all__ = [
    "PROGRESS",
    "Progress",
    "Store",
    "at",
    "member",
    "report_progress",
    "run",
    "segment_length",
    "strong",
]
