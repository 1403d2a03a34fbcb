"""The variational autoencoder: a generative model z -> x with a network that infers z from x.

D. P. Kingma, M. Welling, Auto-encoding variational Bayes, ICLR 2014. With prior p(z) = N(0, I), Bernoulli pixels
p(x|z) and q(z|x) = N(m(x), diag exp s(x)), training lowers

    -ELBO(x) = E_q[-log p(x|z)] + KL(q(z|x) || p(z)),   -log p(x) <= -ELBO(x),

with one sample z = m + exp(s/2) e per example and the divergence in closed form (`nn.GaussianCode`). `fit` works with
the mean over pixels, which is -ELBO / D for D pixels: `nn.BCELoss()` and `nn.ActivityPenalty()`, whose weight is 1 / D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._options import whole
from ..nn import Flatten, GaussianCode, Sequential
from .autoencoders import Autoencoder, _dense, _mirror, _sizes
from .registry import Recipe, register

__all__ = ["VAE", "vae"]

Array = npt.NDArray[Any]


class VAE(Autoencoder):
    """An `Autoencoder` whose encoder ends with `nn.GaussianCode` and whose decoder gives probabilities of pixels.

    latent : d, the length of z. Raises TypeError for another encoder.
    """

    def __init__(self, encoder: Sequential, decoder: Sequential, latent: int) -> None:
        super().__init__(encoder, decoder)
        code = list(encoder)[-1]
        if not isinstance(code, GaussianCode):
            raise TypeError(f"VAE: expected an encoder that ends with GaussianCode, got {type(code).__name__}")
        self.latent = whole("VAE", "latent", latent, 1)

    def posterior(self, x: Any) -> tuple[Array, Array]:
        """(means [N,d], standard deviations [N,d]) of q(z|x) for x [N,...]."""
        layers = list(self.encoder)  # type: ignore[call-overload]
        both = Sequential(*layers[:-1]).predict(x, capture=False)
        mean, log_variance = layers[-1].split(both)
        return np.asarray(mean), np.exp(0.5 * np.asarray(log_variance))

    def sample(self, n: int, seed: int = 0) -> Array:
        """Probabilities of the pixels [n,...] of n draws z ~ N(0, I) from a generator seeded with `seed`."""
        z = np.random.default_rng(seed).standard_normal((whole("VAE.sample", "n", n, 1), self.latent))
        return np.asarray(self.decoder.predict(z.astype(np.float32)))

    def traverse(self, z: Any, unit: int, values: Sequence[float]) -> Array:
        """The decoder's output [len(values),...] with one unit of the code z [d] set to each of the values."""
        if not 0 <= unit < self.latent:
            raise ValueError(f"VAE.traverse: unit must be in 0..{self.latent - 1}, got {unit}")
        codes = np.repeat(np.asarray(z, np.float32).reshape(1, self.latent), len(values), 0)
        codes[:, unit] = values
        return np.asarray(self.decoder.predict(codes))

    def active_units(self, x: Any, threshold: float = 0.01) -> int:
        """How many code units have means whose variance over x [N,...] is above the threshold (Burda et al. 2016)."""
        return int((self.posterior(x)[0].var(0, dtype=np.float64) > threshold).sum())

    def bound(self, x: Any, samples: int = 1, seed: int = 0) -> Array:
        """Lower bounds [N] of log p(x_n) in nats, for x [N,...] in {0, 1} (or [0, 1]), float64.

        samples = 1 : the ELBO with the divergence in closed form. samples = K > 1 : the importance-weighted bound
        log 1/K sum_k p(x, z_k) / q(z_k|x), no looser on average (Burda, Grosse, Salakhutdinov 2016).
        """
        count = whole("VAE.bound", "samples", samples, 1)
        values = np.asarray(x, np.float64).reshape(len(x), -1)
        mean, std = (a.astype(np.float64) for a in self.posterior(x))
        rng = np.random.default_rng(seed)
        terms = np.empty((count, len(values)))
        for k in range(count):
            e = rng.standard_normal(mean.shape)
            z = mean + std * e
            p = np.asarray(self.decoder.predict(z.astype(np.float32)), np.float64).reshape(values.shape)
            p = np.clip(p, 1e-7, 1 - 1e-7)
            likelihood = (values * np.log(p) + (1 - values) * np.log1p(-p)).sum(1)
            if count == 1:
                return np.asarray(likelihood - 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(1))
            terms[k] = likelihood + (0.5 * (e**2 - z**2) + np.log(std)).sum(1)
        top = terms.max(0)
        return np.asarray(top + np.log(np.exp(terms - top).mean(0)))


@register(
    "vae",
    family="autoencoders",
    year=2014,
    paper="D. P. Kingma, M. Welling, Auto-encoding variational Bayes, ICLR 2014",
    what="64-128-16 Gaussian code-128-64, evidence lower bound by reparametrised samples",
    recipe=Recipe(epochs=200, batch_size=32, optimizer="adam", lr=2e-3, loss="elbo", keep_best=False),
)
def vae(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    hidden: Sequence[int] = (128,),
    latent: int = 16,
) -> VAE:
    """Dense encoder and decoder with tanh layers, `latent` Gaussian code units, Bernoulli pixels.

    x [N,*input_shape] in [0, 1] -> pixel probabilities of the same shape; samples z in training mode, takes the mean
    in evaluation mode. Train with `loss=nn.BCELoss(), penalty=nn.ActivityPenalty()`. classes : not used.
    Raises ValueError for sizes below 1.
    """
    sizes = _sizes("vae", input_shape, hidden, latent)
    code = GaussianCode(weight=1.0 / math.prod(input_shape))
    encoder = Sequential(Flatten(), *_dense([*sizes[:-1], 2 * latent], "tanh", None), code)
    return VAE(encoder, _mirror(sizes, input_shape, "tanh", "sigmoid"), latent)
