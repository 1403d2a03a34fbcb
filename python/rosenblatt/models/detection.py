"""Finding objects: a single-stage detector with a class and a box head, and a mask head on aligned features.

    image [N,H,W,C] -> trunk [N,H/4,W/4,64] --> class head: scores of background and K classes  [N,P,Q,1+K]
                                             \\-> box head: where the object's box is            [N,P,Q,4]

A cell of the P x Q grid answers for objects whose centre lies in it. The box head gives the centre's place relative to
the cell's, in cells, and the logarithms of width and height in cells. The loss is R. Girshick's (Fast R-CNN, ICCV
2015): cross-entropy of the class, and smooth L1 of the box where there is an object (notes B:S1). The mask head is that
of K. He, G. Gkioxari, P. Dollar, R. Girshick, Mask R-CNN, ICCV 2017 (notes B:S2), trained on the trunk's features.

Boxes are (x0, y0, x1, y1) in pixels, as in `metrics.mean_average_precision` and `data.generate.scenes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..metrics import box_iou
from ..nn import Conv2d, ConvTranspose2d, Loss, Module, Sequential

__all__ = [
    "Detector", "GridLoss", "detect", "detection_targets", "detector", "mask_head", "mask_targets", "nms",
    "paste_masks", "roi_align",
]

Array = npt.NDArray[Any]
Found = tuple[Array, Array, Array]


class Detector(Module):
    """x [N,H,W,C] -> [N,P,Q,1+K+4]: scores of the background and K classes, then the box of each cell.

    Parameters
    ----------
    trunk : module [N,H,W,C] -> features [N,P,Q,F], P = ceil(H / stride)
    features, classes : F and K
    stride : pixels of a cell

    Raises ValueError for sizes below 1.
    """

    def __init__(self, trunk: Module, features: int, classes: int, stride: int) -> None:
        super().__init__()
        self.classes, self.stride = whole("Detector", "classes", classes, 1), whole("Detector", "stride", stride, 1)
        self.trunk = trunk
        self.class_head = Conv2d(features, 1 + classes, 1)
        self.box_head = Conv2d(features, 4, 1)

    def forward(self, x: Any) -> Any:
        seen = self.trunk(x)
        return ops.concat([self.class_head(seen), self.box_head(seen)], -1)

    def extra_repr(self) -> str:
        return f"classes={self.classes}, stride={self.stride}"


def detector(
    *, input_shape: Sequence[int] = (48, 48, 3), classes: int = 6, channels: Sequence[int] = (24, 48, 64)
) -> Detector:
    """A `Detector` of cells of 4 pixels: two convolutions of stride 2, three of 3x3, dilated in the middle.

    input_shape : (H,W,C), of which only C matters; channels : of the first, the second and the other layers.
    Raises ValueError for an input that is no image and other numbers of channels.
    """
    if len(input_shape) != 3 or len(channels) != 3:
        raise ValueError(
            f"detector: expected input_shape (H,W,C) and three numbers of channels, got {tuple(input_shape)} and "
            f"{tuple(channels)}"
        )
    a, b, c = (whole("detector", "channels", n, 1) for n in channels)
    trunk = Sequential(*(
        Conv2d(i, o, 3, stride=s, padding="same", dilation=d, activation="relu", weight_init="he_uniform")
        for i, o, s, d in ((input_shape[2], a, 2, 1), (a, b, 2, 1), (b, c, 1, 1), (c, c, 1, 2), (c, c, 1, 1))
    ))
    return Detector(trunk, c, classes, 4)


# --- targets and loss


def _objects(where: str, labels: Any, boxes: Any) -> tuple[Array, Array]:
    y, b = np.asarray(labels), np.asarray(boxes, np.float64)
    if y.ndim != 2 or y.dtype.kind not in "iu" or b.shape != (*y.shape, 4):
        raise ValueError(f"{where}: expected integer labels [N,M] and boxes [N,M,4], got {y.shape} and {b.shape}")
    return y, b


def detection_targets(labels: Any, boxes: Any, size: Sequence[int], classes: int, stride: int = 4) -> Array:
    """What a `Detector` should give for objects: float32 [N,P,Q,1+K+4], one-hot classes, background first, and boxes.

    labels : [N,M] in [0, K), -1 where there is no object; boxes : [N,M,4]; size : (H, W) of the images. Of several
    objects with their centre in one cell the last counts. Raises ValueError for other shapes, labels out of range and
    boxes of objects that are empty or have their centre outside the image.
    """
    where = "detection_targets"
    y, b = _objects(where, labels, boxes)
    k, step = whole(where, "classes", classes, 1), whole(where, "stride", stride, 1)
    rows, columns = (-(-whole(where, "size", n, 1) // step) for n in size)
    if y.size and not -1 <= int(y.min()) <= int(y.max()) < k:
        raise ValueError(f"{where}: expected labels in -1..{k - 1}, got {y.min()}..{y.max()}")
    out = np.zeros((len(y), rows, columns, 1 + k + 4), np.float32)
    out[..., 0] = 1
    for m in range(y.shape[1]):
        n = np.flatnonzero(y[:, m] >= 0)
        x0, y0, x1, y1 = b[n, m].T
        if not ((x1 > x0) & (y1 > y0)).all():
            raise ValueError(f"{where}: expected boxes (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
        across, down = (x0 + x1) / 2 / step, (y0 + y1) / 2 / step  # centres, in cells
        p, q = np.floor(down).astype(int), np.floor(across).astype(int)
        if len(n) and not (min(p.min(), q.min()) >= 0 and p.max() < rows and q.max() < columns):
            raise ValueError(f"{where}: expected the centres of boxes within images of {tuple(size)} pixels")
        out[n, p, q] = 0
        out[n, p, q, 1 + y[n, m]] = 1
        place = np.stack([across - q - 0.5, down - p - 0.5, np.log((x1 - x0) / step), np.log((y1 - y0) / step)], -1)
        out[n, p, q, 1 + k :] = place
    return out


class GridLoss(Loss):
    """Class and box of every cell: prediction and target [N,P,Q,1+K+4], see `detection_targets`.

    Cross-entropy of the classes, and `box_weight` times the sum of four smooth L1 terms where there is an object: the
    loss of `ops.detection_loss`, for a network with one output. "mean" is the mean over images of the sum over cells.
    """

    def __init__(self, reduction: str = "mean", box_weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.box_weight = box_weight
        self.beta = beta

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        if sample_weight is not None or prediction.shape != target.shape or len(prediction.shape) != 4:
            raise ValueError(
                f"GridLoss: expected prediction and target [N,P,Q,1+K+4] and no weights, got {prediction.shape} and "
                f"{target.shape}"
            )
        classes = slice(0, prediction.shape[-1] - 4)
        boxes = slice(classes.stop, None)

        def part(x: Any, which: Any) -> Any:
            return ops.getitem(x, (..., which))

        wanted, real = part(target, classes), ops.sub(1.0, part(target, 0))
        named = ops.neg(ops.sum(ops.mul(ops.log_softmax(part(prediction, classes), -1), wanted), -1))
        apart = ops.smooth_l1_loss(part(prediction, boxes), part(target, boxes), beta=self.beta, reduction="none")
        cells = ops.add(named, ops.mul(ops.mul(ops.sum(apart, -1), real), self.box_weight))  # [N,P,Q]
        each = ops.sum(cells, (1, 2))
        return each if self.reduction == "none" else ops.sum(each) if self.reduction == "sum" else ops.mean(each)


# --- answers


def nms(boxes: Any, scores: Any, threshold: float = 0.5) -> Array:
    """Non-maximum suppression: indices of the boxes [D,4] that stay, by falling score [D].

    A box goes when it overlaps one that stays, with a higher score, by an IoU above `threshold`. Raises ValueError for
    other shapes.
    """
    b, s = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    if s.ndim != 1 or b.shape != (len(s), 4):
        raise ValueError(f"nms: expected boxes [D,4] and scores [D], got {b.shape} and {s.shape}")
    overlap = box_iou(b, b)
    left = np.argsort(-s, kind="stable")
    kept = []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][overlap[left[0], left[1:]] <= threshold]
    return np.array(kept, np.int64)


def decode(outputs: Array, stride: int) -> tuple[Array, Array, Array]:
    """(labels [N,P*Q], boxes [N,P*Q,4], scores [N,P*Q]) of all cells from a detector's outputs [N,P,Q,1+K+4]."""
    n, rows, columns, size = outputs.shape
    shares = np.asarray(ops.softmax(np.ascontiguousarray(outputs[..., : size - 4]), -1), np.float64)[..., 1:]
    where = np.asarray(outputs[..., size - 4 :], np.float64)
    p, q = np.mgrid[:rows, :columns]
    across, down = where[..., 0] + q + 0.5, where[..., 1] + p + 0.5
    half = np.exp(np.clip(where[..., 2:], -10, 10)) / 2
    low, high = np.stack([across, down], -1) - half, np.stack([across, down], -1) + half
    boxes = np.concatenate([low, high], -1) * stride
    best: Array = shares.max(-1)
    return shares.argmax(-1).reshape(n, -1), boxes.reshape(n, -1, 4), best.reshape(n, -1)


def detect(
    model: Detector, x: Any, *, score: float = 0.05, overlap: float = 0.5, most: int = 20, batch_size: int = 64
) -> list[Found]:
    """The objects in images x [N,H,W,C]: one (labels [D], boxes [D,4], scores [D]) for each, by falling score.

    score : least probability of a class; overlap : IoU above which the weaker of two boxes of one class goes; most :
    how many objects of an image stay. The result goes into `metrics.mean_average_precision`.
    """
    labels, boxes, scores = decode(np.asarray(model.predict(x, batch_size)), model.stride)
    size = np.array([x.shape[2], x.shape[1]] * 2)
    found = []
    for y, b, s in zip(labels, np.clip(boxes, 0, size), scores, strict=True):
        able = np.flatnonzero((s >= score) & (b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1]))
        kept = [own[nms(b[own], s[own], overlap)] for k in np.unique(y[able]) for own in [able[y[able] == k]]]
        at = np.concatenate(kept) if kept else able
        at = at[np.argsort(-s[at], kind="stable")][:most]
        found.append((y[at], b[at], s[at]))
    return found


# --- masks


def _between(low: Array, high: Array, parts: int, cells: int) -> Array:
    """[B,parts,cells]: weights of linear interpolation at the middles of `parts` equal parts of [low, high].

    low, high : [B], in cells, cell i reaching from i to i + 1; beyond the middles of the outermost cells these count.
    """
    at = low[:, None] + (np.arange(parts) + 0.5) / parts * (high - low)[:, None] - 0.5
    at = np.clip(at, 0, cells - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(at[..., None] - np.arange(cells))))


def roi_align(features: Any, boxes: Any, images: Any, size: int = 7, stride: int = 4) -> Any:
    """Features of boxes, brought to one size: [B,size,size,F], by bilinear interpolation at the middles of its parts.

    features : [N,P,Q,F], array or tensor (then differentiable); boxes : [B,4] in pixels; images : [B], which of the N
    each box lies in; stride : pixels of a cell of the features

    Raises ValueError for other shapes and images out of range. Nothing is rounded (He et al. 2017).
    """
    where = "roi_align"
    b, n = np.asarray(boxes, np.float64), np.asarray(images)
    m = whole(where, "size", size, 1)
    shape = tuple(features.shape)
    if len(shape) != 4 or b.ndim != 2 or b.shape[1] != 4 or n.shape != (len(b),) or n.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: expected features [N,P,Q,F], boxes [B,4] and images [B], got {shape}, {b.shape} and {n.shape}"
        )
    if len(n) and not 0 <= n.min() <= n.max() < shape[0]:
        raise ValueError(f"{where}: expected images in 0..{shape[0] - 1}, got {n.min()}..{n.max()}")
    dtype = features.dtype
    down = _between(b[:, 1] / stride, b[:, 3] / stride, m, shape[1]).astype(dtype)  # [B,m,P]
    across = _between(b[:, 0] / stride, b[:, 2] / stride, m, shape[2]).astype(dtype)  # [B,m,Q]
    own = ops.take(features, n.astype(np.int64), 0)
    count, _, columns, maps = own.shape
    tall = ops.matmul(down, ops.reshape(own, (count, shape[1], columns * maps)))  # [B,m,Q*F]
    return ops.matmul(across[:, None], ops.reshape(tall, (count, m, columns, maps)))  # [B,m,m,F]


def mask_head(*, features: int = 64, channels: int = 32) -> Sequential:
    """Aligned features [B,m,m,F] -> logits of a mask [B,2m,2m,1]; no class of its own decides about a pixel.

    Two 3x3 convolutions, a transposed one that doubles the size, a 1x1. Raises ValueError for sizes below 1.
    """
    a, b = whole("mask_head", "features", features, 1), whole("mask_head", "channels", channels, 1)
    return Sequential(
        Conv2d(a, b, 3, padding="same", activation="relu", weight_init="he_uniform"),
        Conv2d(b, b, 3, padding="same", activation="relu", weight_init="he_uniform"),
        ConvTranspose2d(b, b, 2, stride=2, activation="relu"),
        Conv2d(b, 1, 1),
    )


def mask_targets(masks: Any, boxes: Any, size: int = 14) -> Array:
    """Masks [B,H,W] seen through their boxes [B,4]: float32 [B,size,size,1], 1 inside the object."""
    a = np.asarray(masks, np.float32)
    if a.ndim != 3:
        raise ValueError(f"mask_targets: expected masks [B,H,W], got {a.shape}")
    seen = roi_align(a[..., None], boxes, np.arange(len(a)), size, 1)
    return np.asarray(seen >= 0.5, np.float32)


def paste_masks(masks: Any, boxes: Any, size: Sequence[int]) -> Array:
    """Masks [B,m,m,1] of probabilities put back into their boxes [B,4]: bool [B,H,W], True above a half.

    size : (H, W). Pixels outside a box are False. Raises ValueError for other shapes.
    """
    a, b = np.asarray(masks, np.float64), np.asarray(boxes, np.float64)
    if a.ndim != 4 or a.shape[3] != 1 or b.shape != (len(a), 4):
        raise ValueError(f"paste_masks: expected masks [B,m,m,1] and boxes [B,4], got {a.shape} and {b.shape}")

    def weights(low: Array, high: Array, pixels: int, parts: int) -> Array:
        at = (np.arange(pixels) + 0.5 - low[:, None]) / np.maximum(high - low, 1e-9)[:, None]  # [B,pixels] in the box
        near = np.clip(at * parts - 0.5, 0, parts - 1)
        inside = (at >= 0) & (at <= 1)
        return np.asarray(np.maximum(0.0, 1.0 - np.abs(near[..., None] - np.arange(parts))) * inside[..., None])

    rows = weights(b[:, 1], b[:, 3], int(size[0]), a.shape[1])  # [B,H,m]
    columns = weights(b[:, 0], b[:, 2], int(size[1]), a.shape[2])  # [B,W,m]
    return np.asarray(rows @ a[..., 0] @ columns.transpose(0, 2, 1) > 0.5)
