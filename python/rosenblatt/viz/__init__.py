"""Pictures of runs: the training report and the small PNG and SVG writers it is made with."""

from __future__ import annotations

from .report import Run, confusion_matrix, write_report

__all__ = ["Run", "confusion_matrix", "write_report"]
