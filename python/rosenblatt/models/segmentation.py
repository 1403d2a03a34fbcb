"""Labels for every pixel: a dilated fully-convolutional network, and recurrent convolution with tied parameters.

Images are [N,H,W,C] of any size, labels [N,H,W] and scores [N,H,W,K] with as many pixels. Train with
`model.fit(x, labels, loss=nn.CrossEntropyLoss())`; `metrics.iou(labels, scores.argmax(-1))` measures the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from .._options import whole
from ..nn import Conv2d, Module, Sequential

__all__ = ["RecurrentSegmenter", "dilated_segmenter", "recurrent_segmenter"]


def dilated_segmenter(
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    classes: int = 7,
    channels: int = 32,
    dilations: Sequence[int] = (1, 1, 2, 4, 8, 1),
) -> Sequential:
    """x [N,H,W,C] -> class scores [N,H,W,classes], by 3x3 convolutions of growing dilation at full resolution.

    A layer of dilation d sees 2 d pixels more than the one below: no pooling is needed for a wide view, and nothing has
    to be enlarged again. The receptive field is 1 + 2 sum(dilations) pixels. The weights fit images of any size.

    Parameters
    ----------
    input_shape : (H,W,C), of which only C matters.
    classes : numbers of labels, the background among them.
    channels : maps of every layer.
    dilations : of the 3x3 layers in turn; a 1x1 convolution gives the scores.

    Raises ValueError for sizes below 1 and an input that is no image.

    F. Yu, V. Koltun, Multi-scale context aggregation by dilated convolutions, ICLR 2016 (notes B:S6).
    """
    name = "dilated_segmenter"
    if len(input_shape) != 3:
        raise ValueError(f"{name}: expected input_shape (H,W,C), got {tuple(input_shape)}")
    steps = [whole(name, "dilations", d, 1) for d in dilations]
    if not steps:
        raise ValueError(f"{name}: expected at least one dilation")
    before, maps = whole(name, "input channels", input_shape[2], 1), whole(name, "channels", channels, 1)
    layers: list[Module] = []
    for d in steps:
        layers.append(
            Conv2d(before, maps, 3, padding="same", dilation=d, activation="relu", weight_init="he_uniform")
        )
        before = maps
    return Sequential(*layers, Conv2d(before, whole(name, "classes", classes, 2), 1))


class RecurrentSegmenter(Module):
    """Structured outputs by recurrent convolution: a guess of all labels is refined by the guess itself (notes A:M25).

        H_t = relu(U * X + W * Y_{t-1} + b)        Y_t = softmax(V * H_t + c),  Y_0 = 0,  t = 1 .. steps

    U, V and W are the same in every step, so that the network is a recurrent one; every kernel keeps the size of the
    image. x [N,H,W,C] -> scores V * H_t + c of all steps [N,steps,H,W,classes], the last one being the answer. Every
    step learns: `model.fit(x, np.repeat(labels[:, None], steps, 1), loss=nn.CrossEntropyLoss())`. `steps` may be
    changed after training.

    Parameters
    ----------
    in_channels, classes, hidden : numbers of maps of X, Y and H.
    steps : how often the labels are guessed.
    kernel : sides of U, V and W.

    Raises ValueError for sizes below 1.

    P. Pinheiro, R. Collobert, Recurrent convolutional neural networks for scene labeling, ICML 2014.
    """

    def __init__(
        self, in_channels: int, classes: int, hidden: int = 16, steps: int = 3, kernel: Sequence[int] = (5, 5, 5),
    ) -> None:
        super().__init__()
        name = "RecurrentSegmenter"
        if len(kernel) != 3:
            raise ValueError(f"{name}: expected three sides, of U, V and W, got {tuple(kernel)}")
        u, v, w = (whole(name, "kernel", k, 1) for k in kernel)
        self.classes, self.steps = whole(name, "classes", classes, 2), whole(name, "steps", steps, 1)
        maps = whole(name, "hidden", hidden, 1)
        self.u = Conv2d(in_channels, maps, u, padding="same", weight_init="he_uniform")
        self.w = Conv2d(classes, maps, w, padding="same", bias=False)
        self.v = Conv2d(maps, classes, v, padding="same")

    def forward(self, x: Any) -> Any:
        seen = self.u(x)  # the same in every step
        scores: list[Any] = []
        for _ in range(self.steps):
            state = seen if not scores else ops.add(seen, self.w(ops.softmax(scores[-1], -1)))
            scores.append(self.v(ops.relu(state)))
        return ops.stack(scores, 1)

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


def recurrent_segmenter(
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    classes: int = 7,
    hidden: int = 16,
    steps: int = 3,
    kernel: Sequence[int] = (5, 5, 5),
) -> RecurrentSegmenter:
    """`RecurrentSegmenter` for images of `input_shape` = (H,W,C). Raises ValueError for sizes below 1."""
    if len(input_shape) != 3:
        raise ValueError(f"recurrent_segmenter: expected input_shape (H,W,C), got {tuple(input_shape)}")
    return RecurrentSegmenter(input_shape[2], classes, hidden, steps, kernel)
