"""The HTML report: one file that can be mailed, with plots, audio, and every number's source.

``figures`` draws, ``page`` lays out, ``summary`` holds the one result table.
"""

from tinyse.measure.report.figures import figure_before_after
from tinyse.measure.report.page import Clip, Report, write_report
from tinyse.measure.report.summary import Costs, Number, Summary

__all__ = ["Clip", "Costs", "Number", "Report", "Summary", "figure_before_after", "write_report"]
