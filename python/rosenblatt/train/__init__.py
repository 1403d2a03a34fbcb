"""Training: `fit`, `predict`, `evaluate`, callbacks, ensembles, progress, `summary`, `profile`."""

from .callbacks import Callback, History, LearningRateSchedule
from .ensemble import Ensemble
from .fit import NonFiniteError, evaluate, fit, predict
from .histograms import HistogramRecord, Histograms
from .landscape import Descent, StationaryPoint, descend, hessian, stationary_point
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
from .profile import LayerProfile, OpProfile, Profile, profile
from .progress import Progress
from .summary import LayerRow, Summary, receptive_field, summary
from .tensorboard import TensorBoard
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
    "CSVLogger", "Callback", "Descent", "EarlyStopping", "Ensemble", "HistogramRecord", "Histograms", "History",
    "LambdaCallback", "LayerProfile", "LayerRow", "LearningRateSchedule", "LearningRateScheduler", "Loader",
    "ModelCheckpoint", "NonFiniteError", "OpProfile", "Profile", "Progress", "RateRange", "ReduceLROnPlateau",
    "StationaryPoint", "StopWhen", "Summary", "TensorBoard", "TerminateOnNaN", "Trainer", "Trial", "cross_validate",
    "descend", "evaluate", "fit", "grid", "hessian", "k_fold", "learning_rate_range", "predict", "profile",
    "random_choices", "receptive_field", "search", "stationary_point", "successive_halving", "summary",
]
