"""The list of networks: who built it and when, how to build it here, and the recipe that trains it.

A network registers a builder with `@register`; the command line, the tests and the reports read everything else
from its `ModelInfo`. A recipe was chosen on the training half of the digits only (600 to train, 298 to choose by),
never on the test half.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ..data.augment import Affine, place

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["ModelInfo", "Recipe", "UnknownModelError", "build", "info", "names", "register"]

Array = npt.NDArray[Any]
Builder = Callable[..., "Module"]
B = TypeVar("B", bound=Builder)


class UnknownModelError(ValueError):
    """No network of that name is registered; the message suggests near names."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained unless told otherwise.

    Attributes
    ----------
    epochs : passes over the training set.
    batch_size : samples per update.
    optimizer : "adam", "sgd" or "rmsprop".
    lr : learning rate at the start.
    momentum : of SGD.
    weight_decay : the optimiser's decay of the weights.
    schedule : "cosine" falls to zero over the epochs, "constant" stays.
    loss : "cross_entropy" on logits, "perceptron" (error correction of threshold units), "reconstruction" (squared
        error of the input's reconstruction) or "elbo" (its cross-entropy); the last two add the model's own penalties.
    augment : random maps of the training images, or None.
    keep_best : keep the weights of the epoch with the smallest training loss (never chosen by the test set).
    pretrain_epochs : passes for each pair of layers before that (`models.pretrain`).
    """

    epochs: int
    batch_size: int
    optimizer: Literal["adam", "sgd", "rmsprop"]
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    loss: Literal["cross_entropy", "perceptron", "reconstruction", "elbo"] = "cross_entropy"
    augment: Affine | None = None
    keep_best: bool = True
    pretrain_epochs: int = 0

    @property
    def reconstructs(self) -> bool:
        """Whether the target is the input itself, not a label."""
        return self.loss in ("reconstruction", "elbo")


@dataclass(frozen=True)
class ModelInfo:
    """A registered network.

    Attributes
    ----------
    name : what the command line calls it.
    family : the group it is listed under.
    year : of publication.
    paper : author, title, place.
    what : one line on its structure.
    builder : called as builder(input_shape=(H,W,C), classes=K, **options); the number of classes goes to one that calls
        it `num_classes` under that name.
    recipe : the training defaults.
    image : the (H,W,C) it requires, or None when it takes the data's.
    fit : fraction of `image` that a smaller or larger picture is made to cover.
    needs : extras that its default data needs.
    data : what it is trained on unless told otherwise: a name of `data.NAMED`.
    full : the (H,W,C) of the published network, where `image` is smaller so that training takes minutes, or None.
    """

    name: str
    family: str
    year: int
    paper: str
    what: str
    builder: Builder
    recipe: Recipe
    image: tuple[int, int, int] | None = None
    fit: float = 1.0
    needs: tuple[str, ...] = ()
    data: str = "digits"
    full: tuple[int, int, int] | None = None

    def at(self, shape: Sequence[int]) -> ModelInfo:
        """The same network taking images of another (H,W,C), where it requires a size at all."""
        if self.image is None:
            return self
        rows, columns, channels = shape
        return dataclasses.replace(self, image=(rows, columns, channels))

    def input_shape(self, data_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one sample at the network's input, for data of `data_shape`."""
        return self.image or data_shape

    def _fit_for(self, rows: int, columns: int) -> float:
        """A picture that already has the required size is used as it is."""
        return 1.0 if self.image and (rows, columns) == self.image[:2] else self.fit

    def channels(self, x: Array) -> Array:
        """[N,H,W,C] with the number of channels the network requires: luma of RGB, or grey repeated.

        Raises ValueError for samples that are not images where images are required.
        """
        if self.image is None:
            return x
        if x.ndim != 4 or x.shape[3] not in (1, 3):
            raise ValueError(f"{self.name}: expected images [N,H,W,1 or 3], got shape {list(x.shape)}")
        if x.shape[3] == self.image[2]:
            return x
        if self.image[2] == 1:
            weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
            grey: Array = (x * weights).sum(axis=3, keepdims=True, dtype=np.float32)
            return grey
        return np.repeat(x, self.image[2], axis=3)

    def prepare(self, x: Array) -> Array:
        """Samples [N,...] as the network takes them for evaluation: channels and size adapted, nothing random."""
        if self.image is None:
            return x
        x = self.channels(x)
        rows, columns = int(x.shape[1]), int(x.shape[2])
        if (rows, columns) == self.image[:2]:
            return x
        return place(x, self.image[:2], self._fit_for(rows, columns))

    def augmentation(self, data_shape: tuple[int, ...]) -> Affine | None:
        """The recipe's random maps for images of `data_shape` = (H,W,C), bringing them to the network's size."""
        template = self.recipe.augment
        if template is None or len(data_shape) != 3:
            return None
        if self.image is None:
            return template
        return dataclasses.replace(template, size=self.image[:2], fit=self._fit_for(data_shape[0], data_shape[1]))


_REGISTRY: dict[str, ModelInfo] = {}


def register(
    name: str,
    *,
    family: str,
    year: int,
    paper: str,
    what: str,
    recipe: Recipe,
    image: tuple[int, int, int] | None = None,
    fit: float = 1.0,
    needs: tuple[str, ...] = ("demo",),
    data: str = "digits",
    full: tuple[int, int, int] | None = None,
) -> Callable[[B], B]:
    """Decorator that lists a builder under `name`; the arguments are the fields of `ModelInfo`.

    Raises ValueError when the name is taken.
    """

    def add(builder: B) -> B:
        if name in _REGISTRY:
            raise ValueError(f"register: a network named {name!r} exists already")
        made: Builder = builder
        if "num_classes" in inspect.signature(builder).parameters:

            @functools.wraps(builder)
            def made(*, classes: int | None = None, **options: Any) -> Module:
                return builder(**options, **({} if classes is None else {"num_classes": classes}))

        extras = needs if data == "digits" else ()
        _REGISTRY[name] = ModelInfo(name, family, year, paper, what, made, recipe, image, fit, extras, data, full)
        return builder

    return add


def names() -> list[str]:
    """The registered names, oldest network first."""
    return sorted(_REGISTRY, key=lambda n: (_REGISTRY[n].year, n))


def info(name: str) -> ModelInfo:
    """What is known about a network. Raises UnknownModelError."""
    try:
        return _REGISTRY[name]
    except KeyError:
        near = difflib.get_close_matches(name, _REGISTRY, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownModelError(f"no network named {name!r} (there are: {', '.join(names())}){hint}") from None


def build(name: str, **options: Any) -> Module:
    """A new, untrained network. Options are the builder's: `input_shape`, `classes` and its own.

    Raises UnknownModelError, and whatever the builder raises for options that do not fit.
    """
    return info(name).builder(**options)
