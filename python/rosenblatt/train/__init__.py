"""Training: `fit`, `predict`, `evaluate`, callbacks, progress, `summary`."""

from .callbacks import Callback, History, LearningRateSchedule
from .fit import NonFiniteError, evaluate, fit, predict
from .loader import Loader
from .monitors import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    StopWhen,
    TerminateOnNaN,
)
from .progress import Progress
from .summary import LayerRow, Summary, summary
from .trainer import Trainer
from .tuning import (
    RateRange,
    Trial,
    cross_validate,
    grid,
    k_fold,
    learning_rate_range,
    random_choices,
    search,
    successive_halving,
)

__all__ = [
    "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback", "LayerRow", "LearningRateSchedule",
    "LearningRateScheduler", "Loader", "ModelCheckpoint", "NonFiniteError", "Progress", "RateRange",
    "ReduceLROnPlateau", "StopWhen", "Summary", "TerminateOnNaN", "Trainer", "Trial", "cross_validate", "evaluate",
    "fit", "grid", "k_fold", "learning_rate_range", "predict", "random_choices", "search", "successive_halving",
    "summary",
]
