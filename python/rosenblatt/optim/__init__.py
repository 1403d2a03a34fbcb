"""Optimisers: fused updates in place, one pass over memory per parameter."""

from .optimizers import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
