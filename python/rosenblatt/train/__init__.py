"""Training: `fit`, `predict`, `evaluate`, callbacks, progress, `summary`."""

from .callbacks import Callback, History, LearningRateSchedule
from .fit import NonFiniteError, evaluate, fit, predict
from .progress import Progress
from .summary import LayerRow, Summary, summary

__all__ = [
    "Callback", "History", "LayerRow", "LearningRateSchedule", "NonFiniteError", "Progress", "Summary", "evaluate",
    "fit", "predict", "summary",
]
