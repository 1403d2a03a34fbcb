"""What the report of a network that gives back its input shows: reconstructions, the code, samples and traversals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Dataset
from ..models import VAE, Autoencoder, ModelInfo
from ..viz import image_grid, latent_plane

__all__ = ["pictures"]

Array = npt.NDArray[Any]
_SHOWN = 12


def _spread(codes: Array) -> Array:
    """Codes [N,d] as points [N,2]: as they are for d = 2, else along their two largest principal axes."""
    if codes.shape[1] == 2:
        return codes
    centred = codes - codes.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # [d,2]
    return np.asarray(centred @ axes)


def pictures(model: Any, entry: ModelInfo, test: Dataset, outputs: Array) -> list[tuple[str, str, Any]]:
    """(heading, explanation, Figure) for each picture; outputs are the reconstructions of the prepared test samples."""
    shown: list[tuple[str, str, Any]] = []
    x = entry.prepare(test.x)
    pictured = x.ndim == 4 and x.shape[3] in (1, 3)
    first = x[:_SHOWN]
    if pictured:
        rows = {"original": first}
        if isinstance(model, Autoencoder) and model.corruption is not None:
            seen = np.asarray(model.corruption.train()(first))
            model.corruption.eval()
            rows |= {"corrupted": seen, "restored": model.predict(seen, capture=False)}
        rows["reconstructed"] = outputs[:_SHOWN]
        shown.append(("Reconstructions", "The first test samples.", image_grid(rows)))
    if isinstance(model, Autoencoder):
        codes = np.asarray(model.encoder.predict(x, capture=False), np.float64)
        if codes.ndim == 2 and codes.shape[1] >= 2 and len(codes) > 2:
            how = "The code of each test sample" + (
                "." if codes.shape[1] == 2 else f", {codes.shape[1]} numbers, along its two largest principal axes."
            )
            shown.append(("Code", how, latent_plane(_spread(codes), test.y, test.classes)))
    if isinstance(model, VAE) and pictured:
        samples = model.sample(2 * _SHOWN)
        rows = {"drawn": samples[:_SHOWN], "": samples[_SHOWN:]}
        shown.append(("Samples", "Decoded from standard normal codes.", image_grid(rows)))
        mean, _ = model.posterior(x)
        widest = np.argsort(-mean.var(0))[:6]
        values = np.linspace(-2.5, 2.5, _SHOWN)
        walks = {f"unit {u}": model.traverse(mean[0], int(u), list(values)) for u in widest}
        note = "One unit of the first test sample's code moved from -2.5 to 2.5, the most active units first."
        shown.append(("Traversals", note, image_grid(walks)))
    return shown
