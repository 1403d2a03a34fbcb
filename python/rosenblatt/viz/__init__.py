"""Pictures: the report of a run, one HTML file, and plots for lessons; drawn by matplotlib (extra `demo`)."""

from __future__ import annotations

from .plots import (
    activation_curves,
    capacity_curve,
    decision_boundary,
    error_surface,
    fitted_curves,
    hidden_activities,
    image_grid,
    training_curves,
)
from .report import Run, confusion_matrix, write_report
from .samples import augmentation_grid, latent_plane
from .training import histogram_map, layer_norms, rate_range_curve

__all__ = [
    "Run",
    "activation_curves",
    "augmentation_grid",
    "capacity_curve",
    "confusion_matrix",
    "decision_boundary",
    "error_surface",
    "fitted_curves",
    "hidden_activities",
    "histogram_map",
    "image_grid",
    "latent_plane",
    "layer_norms",
    "rate_range_curve",
    "training_curves",
    "write_report",
]
