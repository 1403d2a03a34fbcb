"""Labels of pixels, boxes and masks on generated pictures of textured shapes, measured over several seeds.

    python examples/pixels_and_boxes.py [STUDY ...] [--seeds 3] [--held-out] [--threads 1] [--json FILE]

Studies: classical (edges, k-means and thresholds, nothing learned), dilated (a fully-convolutional network), recurrent
(labels refined by themselves), detection (boxes by a grid of cells, and masks within them). Default: all. Every seed
has training pictures and weights of its own; the test pictures are the same for all. --held-out measures on other
pictures, which is how the settings here were chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autoencoders import Figures, run

import rosenblatt as rb
from rosenblatt import metrics, models, nn, optim
from rosenblatt.data import generate, images
from rosenblatt.data.scenes import SHAPES
from rosenblatt.train import LearningRateSchedule

Array = np.ndarray


class Pictures:
    """Test pictures: of one object (32 x 32) and of one to three (48 x 48)."""

    def __init__(self, held_out: bool) -> None:
        seed = 8_000_000 if held_out else 9_000_000
        self.single = generate.scenes(300, 32, seed=seed)
        self.several = generate.scenes(300, 48, (1, 3), seed=seed)


def train(
    model: nn.Module, x: Array, y: Array, loss: nn.Loss, *, epochs: int, lr: float, seed: int, batch: int = 16,
) -> None:
    """Adam with a cosine."""
    model.fit(
        x, y, epochs=epochs, batch_size=batch, loss=loss, seed=seed, progress=False,
        optimizer=optim.Adam(model.parameters(), lr), callbacks=[LearningRateSchedule.cosine()],
    )


def classical(test: Pictures, seed: int) -> Figures:
    """IoU of what is not background with all objects: edges, two clusters of colour, Otsu's threshold."""
    found = {}
    truth = (test.several.masks > 0).astype(int)
    for name, segment in (
        ("edges", images.segment_edges), ("k-means", lambda x: images.segment_kmeans(x, seed=seed)),
        ("threshold", images.segment_threshold),
    ):
        answer = (segment(test.several.x) > 0).astype(int)
        found[f"{name}: IoU of the objects"] = float(metrics.iou(truth, answer, None)[1])
    return found


def dilated(test: Pictures, seed: int) -> Figures:
    """Seven classes, the background among them: IoU of each over all test pictures, and its mean."""
    pictures = generate.scenes(2000, 32, seed=seed)
    rb.manual_seed(seed)
    model = models.dilated_segmenter()
    train(model, pictures.x, pictures.masks, nn.CrossEntropyLoss(), epochs=15, lr=3e-3, seed=seed)
    answer = model.predict(test.single.x, 64).argmax(-1)
    each = metrics.iou(test.single.masks, answer, None)
    return {
        "mean IoU": float(each.mean()), "accuracy of the pixels": float((answer == test.single.masks).mean()),
        **{f"IoU: {name}": float(v) for name, v in zip(("background", *SHAPES), each, strict=True)},
    }


def recurrent(test: Pictures, seed: int) -> Figures:
    """The same pictures: mean IoU and accuracy of the first guess and of every refinement."""
    pictures = generate.scenes(1500, 32, seed=seed)
    rb.manual_seed(seed)
    model = models.recurrent_segmenter()
    labels = np.repeat(pictures.masks[:, None], model.steps, 1)
    train(model, pictures.x, labels, nn.CrossEntropyLoss(), epochs=12, lr=3e-3, seed=seed)
    answers = model.predict(test.single.x, 64).argmax(-1)  # [N,steps,H,W]
    found: Figures = {"parameters": float(model.num_parameters())}
    for t in range(model.steps):
        found[f"guess {t + 1}: mean IoU"] = float(metrics.iou(test.single.masks, answers[:, t]))
        found[f"guess {t + 1}: accuracy of the pixels"] = float((answers[:, t] == test.single.masks).mean())
    return found


def objects(scenes: Any) -> list[tuple[Array, Array]]:
    """(labels, boxes) of each picture."""
    return [(y[y >= 0], b[y >= 0]) for y, b in zip(scenes.labels, scenes.boxes, strict=True)]


def in_boxes(scenes: Any) -> tuple[Array, Array, Array]:
    """(picture [B], boxes [B,4], masks [B,H,W]) of all objects."""
    n, m = np.nonzero(scenes.labels >= 0)
    return n, scenes.boxes[n, m], scenes.instances[n] == (m + 1)[:, None, None]


def detection(test: Pictures, seed: int) -> Figures:
    """Mean average precision of one to three objects; IoU of masks in true boxes and of those of objects found."""
    pictures, several = generate.scenes(2000, 48, (1, 3), seed=seed), test.several
    rb.manual_seed(seed)
    model = models.detector()
    target = models.detection_targets(pictures.labels, pictures.boxes, (48, 48), len(SHAPES))
    train(model, pictures.x, target, models.GridLoss(), epochs=14, lr=2e-3, seed=seed)
    answers = models.detect(model, several.x)
    found = {"mAP at IoU 0.5": metrics.mean_average_precision(objects(several), answers)}
    found["mAP at IoU 0.75"] = metrics.mean_average_precision(objects(several), answers, 0.75)

    def crops(x: Array, boxes: Array, at: Array) -> Any:
        return models.roi_align(model.trunk.predict(x), boxes, at, 7, model.stride)

    head = models.mask_head()
    some = generate.scenes(800, 48, (1, 3), seed=100 + seed)
    n, boxes, masks = in_boxes(some)
    train(head, crops(some.x, boxes, n), models.mask_targets(masks, boxes), nn.BCEWithLogitsLoss(), epochs=12, lr=3e-3,
          seed=seed, batch=32)  # fmt: skip

    def paste(boxes: Array, at: Array) -> Array:
        logits = head.predict(crops(several.x, boxes, at)).astype(np.float64)
        return models.paste_masks(1 / (1 + np.exp(-logits)), boxes, (48, 48))

    n, boxes, masks = in_boxes(several)
    pasted = paste(boxes, n)
    found["mean IoU of masks in true boxes"] = overlap(masks, pasted)
    # objects found: the answers above a half that overlap an object of their class by a half
    pairs = []
    for i, ((labels, true), (guess, where, score)) in enumerate(zip(objects(several), answers, strict=True)):
        values = np.flatnonzero(several.labels[i] >= 0)
        for d in np.flatnonzero(score > 0.5):
            shared = metrics.box_iou(where[d : d + 1], true)[0] * (labels == guess[d])
            if shared.max() >= 0.5:
                pairs.append((i, where[d], several.instances[i] == values[shared.argmax()] + 1))
    at, where, masks = (np.array([p[j] for p in pairs]) for j in range(3))
    found["mean IoU of masks of objects found"] = overlap(masks, paste(where, at))
    found["objects found"] = len(pairs) / int((several.labels >= 0).sum())
    return found


def overlap(masks: Array, answers: Array) -> float:
    """Mean IoU of pairs of masks [B,H,W]."""
    return float(((masks & answers).sum((1, 2)) / (masks | answers).sum((1, 2))).mean())


STUDIES = {f.__name__: f for f in (classical, dilated, recurrent, detection)}

if __name__ == "__main__":
    run(STUDIES, __doc__ or "", Pictures)
