"""Pictures: the report of a run, one HTML file, plots for lessons, and views into networks; drawn by matplotlib
(extra `demo`).
"""

from __future__ import annotations

from .inside import (
    convolutions,
    deconvnet,
    feature_map_grid,
    feature_maps,
    heat_maps,
    layer_filters,
    maximise_activation,
    occlusion,
    pixel_utilisation,
    saliency,
)
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
    "convolutions",
    "decision_boundary",
    "deconvnet",
    "error_surface",
    "feature_map_grid",
    "feature_maps",
    "fitted_curves",
    "heat_maps",
    "hidden_activities",
    "histogram_map",
    "image_grid",
    "latent_plane",
    "layer_filters",
    "layer_norms",
    "maximise_activation",
    "occlusion",
    "pixel_utilisation",
    "rate_range_curve",
    "saliency",
    "training_curves",
    "write_report",
]
