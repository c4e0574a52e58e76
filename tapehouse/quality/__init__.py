"""How good stored data is, day by day: what is missing, rejected, contradicted or suspicious, and one score.

A fault is told only where something says that it is one: the ledgers, another witness of the same time, or rules
with a source (see `rules`) that leave fast markets alone. Keeping the data good is `tapehouse.ingest`'s business.
"""

from tapehouse.quality.chart import score_lines
from tapehouse.quality.day import DayQuality, Finding, ReportedDay
from tapehouse.quality.report import report_quality
from tapehouse.quality.rules import Thresholds
from tapehouse.quality.stored import read_quality

__all__ = ["DayQuality", "Finding", "ReportedDay", "Thresholds", "read_quality", "report_quality", "score_lines"]
