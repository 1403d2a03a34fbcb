"""Segmentation networks, detector and mask head: against PyTorch, SciPy, loops by hand, and small runs that learn."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import metrics, models, nn, ops
from rosenblatt.data import generate
from rosenblatt.train import LearningRateSchedule

F64 = np.float64
quick = pytest.mark.quick


def learn(model, x, y, loss, epochs, lr=2e-3, batch=16, seed=0):
    return model.fit(x, y, epochs=epochs, batch_size=batch, loss=loss, seed=seed, progress=False,
                     optimizer=rb.optim.Adam(model.parameters(), lr),
                     callbacks=[LearningRateSchedule.cosine()])  # fmt: skip


def torch_conv(torch, layer, t):
    """The layer on t [N,C,H,W] by PyTorch, without its activation."""
    w = torch.from_numpy(np.moveaxis(np.asarray(layer.weight.data), -1, 1).copy())
    b = None if layer.bias is None else torch.from_numpy(np.asarray(layer.bias.data))
    return torch.nn.functional.conv2d(t, w, b, padding="same", dilation=layer.dilation)


def nchw(torch, x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


# --- dilated segmentation


@quick
def test_dilated_segmenter_is_pytorchs():
    torch = pytest.importorskip("torch")
    rb.manual_seed(0)
    model = models.dilated_segmenter(input_shape=(9, 9, 2), classes=4, channels=5, dilations=(1, 2, 3)).astype(F64)
    x = np.random.default_rng(0).standard_normal((2, 11, 13, 2))  # of another size than it was built for
    t = nchw(torch, x)
    for layer in list(model)[:-1]:
        t = torch.relu(torch_conv(torch, layer, t))
    want = torch_conv(torch, model[-1], t).movedim(1, -1).numpy()
    got = model.predict(x)
    assert got.shape == (2, 11, 13, 4) and np.abs(got - want).max() < 1e-12


@quick
def test_field_of_the_dilated_segmenter():
    """A pixel's scores depend on 1 + 2 sum(dilations) pixels: 35 for 1, 1, 2, 4, 8, 1; with dilation 1 on 13 only."""
    rb.manual_seed(1)
    for dilations, width in (((1, 1, 2, 4, 8, 1), 35), ((1,) * 6, 13)):
        model = models.dilated_segmenter(dilations=dilations).astype(F64)
        for p in model.parameters():
            p.data = np.abs(p.data)
        x = rb.Tensor(np.random.default_rng(2).random((1, 41, 41, 3)), requires_grad=True)
        model(x)[0, 20, 20].sum().backward()
        slopes = np.abs(np.asarray(x.grad.data)[0]).sum(-1)
        seen = np.argwhere(slopes > 1e-12 * slopes.max())
        assert (seen.max(0) - seen.min(0) + 1).tolist() == [width, width]
        # positive weights: every pixel that the network can see counts
        assert seen.min(0).tolist() == [20 - width // 2] * 2


@quick
def test_dense_labels_are_counted_pixel_by_pixel():
    """Accuracy in training and evaluation for labels [N,H,W]."""
    found = generate.scenes(20, 16, seed=3)
    rb.manual_seed(0)
    model = models.dilated_segmenter(channels=4, dilations=(1, 1))
    out = model.predict(found.x)
    exact = float((out.argmax(-1) == found.masks).mean())
    loss = nn.CrossEntropyLoss()
    assert model.evaluate(found.x, found.masks, loss=loss)["accuracy"] == pytest.approx(exact)
    frozen = model.fit(found.x, found.masks, epochs=1, batch_size=6, loss=loss, progress=False, seed=0,
                       optimizer=rb.optim.SGD(model.parameters(), 1e-12))  # fmt: skip
    assert frozen.last("accuracy") == pytest.approx(exact)


def test_objects_are_told_from_the_background():
    train, test = generate.scenes(100, 24, seed=5), generate.scenes(50, 24, seed=6)
    rb.manual_seed(0)
    model = models.dilated_segmenter(classes=2, channels=8, dilations=(1, 2, 4))
    learn(model, train.x, (train.masks > 0).astype(int), nn.CrossEntropyLoss(), 25, 5e-3, 10)
    answer = model.predict(test.x).argmax(-1)
    assert metrics.iou((test.masks > 0).astype(int), answer) > 0.85


# --- recurrent segmentation with tied parameters


def by_steps(torch, model, x, steps):
    """The recurrence of the notes written out: H = relu(U X + W Y), Y = softmax(V H)."""
    seen, y, scores = torch_conv(torch, model.u, nchw(torch, x)), None, []
    for _ in range(steps):
        h = torch.relu(seen if y is None else seen + torch_conv(torch, model.w, y))
        z = torch_conv(torch, model.v, h)
        scores.append(z.movedim(1, -1))
        y = torch.softmax(z, 1)
    return torch.stack(scores, 1)


@quick
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 3)])
def test_recurrent_segmenter_follows_the_equations(kernel):
    torch = pytest.importorskip("torch")
    rb.manual_seed(2)
    model = models.recurrent_segmenter(input_shape=(6, 7, 2), classes=3, hidden=4, steps=3, kernel=kernel).astype(F64)
    x = np.random.default_rng(1).standard_normal((2, 6, 7, 2))
    got = model.predict(x)
    assert got.shape == (2, 3, 6, 7, 3)
    assert np.abs(got - by_steps(torch, model, x, 3).numpy()).max() < 1e-12
    model.steps = 5
    longer = model.predict(x, capture=False)
    assert np.abs(longer[:, :3] - got).max() < 1e-12
    assert np.abs(longer - by_steps(torch, model, x, 5).numpy()).max() < 1e-12
    assert model.num_parameters() == sum(  # tied: as many for any number of steps
        k * k * i * o + b for k, i, o, b in zip(kernel, (2, 4, 3), (4, 3, 4), (4, 3, 0), strict=True)
    )


@quick
def test_gradients_go_through_every_step():
    rb.manual_seed(3)
    x, labels = np.random.default_rng(2).standard_normal((1, 4, 4, 2)), np.arange(16).reshape(1, 4, 4) % 3
    model = models.recurrent_segmenter(input_shape=(4, 4, 2), classes=3, hidden=3, steps=3, kernel=(3, 3, 3))
    model.astype(F64)
    names = ["u.weight", "w.weight", "v.weight", "u.bias"]
    start = {n: np.asarray(p.data) for n, p in model.named_parameters()}

    def loss(*arrays):
        for name, a in zip(names, arrays, strict=True):
            setattr(getattr(model, name[0]), name[2:], a)
        return ops.cross_entropy(model(rb.Tensor(x)), np.repeat(labels[:, None], 3, 1))

    assert rb.gradcheck(loss, [start[n] for n in names]) <= 1


# --- boxes


def objects():
    labels = np.array([[0, 2, -1], [1, -1, -1]])
    boxes = np.zeros((2, 3, 4))
    boxes[0, 0], boxes[0, 1], boxes[1, 0] = (2, 3, 11, 9), (10, 12, 15, 16), (0, 0, 16, 12)
    return labels, boxes


@quick
def test_targets_of_the_grid_by_hand():
    target = models.detection_targets(*objects(), (16, 16), 3)
    assert target.shape == (2, 4, 4, 8)
    filled = np.argwhere(target[..., 0] == 0).tolist()
    assert filled == [[0, 1, 1], [0, 3, 3], [1, 1, 2]]  # centres (6, 6.5), (14, 12.5), (6, 8), rows first
    assert target[0, 1, 1, :4].tolist() == [0, 1, 0, 0] and target[0, 3, 3, :4].tolist() == [0, 0, 0, 1]
    assert np.allclose(target[0, 1, 1, 4:], [6.5 / 4 - 1.5, 6 / 4 - 1.5, np.log(9 / 4), np.log(6 / 4)])
    assert np.allclose(target[1, 1, 2, 4:], [8 / 4 - 2.5, 6 / 4 - 1.5, np.log(16 / 4), np.log(12 / 4)])
    assert target[..., 0].sum() == 2 * 16 - 3 and (target[target[..., 0] == 1][:, 1:] == 0).all()


@quick
def test_targets_come_back_as_objects():
    """Scores that say what the targets say are decoded to the boxes themselves: mean average precision 1."""
    found = generate.scenes(30, 48, (1, 3), seed=7)

    class Given(models.Detector):
        def __init__(self):
            super().__init__(nn.Identity(), 1, 6, 4)

        def predict(self, x, batch_size=0, capture=True):
            target = models.detection_targets(found.labels, found.boxes, (48, 48), 6)
            return np.concatenate([20 * target[..., :7], target[..., 7:]], -1)

    answers = models.detect(Given(), found.x)
    truth = [(y[y >= 0], b[y >= 0]) for y, b in zip(found.labels, found.boxes, strict=True)]
    assert metrics.mean_average_precision(truth, answers, 0.95) == 1.0
    for (labels, boxes), (got, where, scores) in zip(truth, answers, strict=True):
        assert sorted(labels) == sorted(got) and (scores > 0.99).all() and (np.diff(scores) <= 0).all()
        assert np.abs(np.sort(boxes, 0) - np.sort(where, 0)).max() < 1e-3


@quick
def test_grid_loss_is_the_detection_loss():
    rng = np.random.default_rng(4)
    out, target = rng.standard_normal((2, 4, 4, 8)), models.detection_targets(*objects(), (16, 16), 3).astype(F64)
    labels = target[..., :4].argmax(-1)
    for weight, beta in ((1.0, 1.0), (2.5, 0.3)):
        one = ops.detection_loss((out[..., :4], out[..., 4:]), (labels, target[..., 4:]), box_weight=weight, beta=beta,
                                 reduction="none")  # fmt: skip
        each = one.sum((1, 2))
        for reduction, want in (("none", each), ("sum", each.sum()), ("mean", each.mean())):
            got = models.GridLoss(reduction, weight, beta)(rb.Tensor(out), target)
            assert np.allclose(got.data, want, rtol=1e-12)
    rb.gradcheck(lambda z: models.GridLoss()(z, target), [out])


@quick
def test_suppression_by_loops():
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 20, (60, 2))
    boxes, scores = np.concatenate([low, low + rng.uniform(3, 12, (60, 2))], 1), rng.random(60)

    def overlap(a, b):
        w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
        inter = max(w, 0) * max(h, 0)
        return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)

    for threshold in (0.1, 0.3, 0.7):
        kept = []
        for i in np.argsort(-scores):
            if all(overlap(boxes[i], boxes[j]) <= threshold for j in kept):
                kept.append(i)
        assert models.nms(boxes, scores, threshold).tolist() == kept
    assert models.nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []


@quick
def test_one_object_of_a_class_beside_one_of_another():
    """Suppression is by class: a disc does not hide the ring around it."""
    model = models.detector(input_shape=(16, 16, 3), classes=2)
    out = np.zeros((1, 4, 4, 7), np.float32)
    out[..., 0] = 9
    for q, k in ((1, 1), (2, 2)):
        out[0, 1, q] = [0, *(9.0 if j == k else 0.0 for j in (1, 2)), 1.5 - q, 0, 1, 1]
    model.predict = lambda x, batch_size: out
    labels, boxes, _ = models.detect(model, np.zeros((1, 16, 16, 3), np.float32))[0]
    assert sorted(labels) == [0, 1] and np.abs(boxes[0] - boxes[1]).max() < 1e-5
    out[0, 1, 2, 1:3] = out[0, 1, 1, 1:3]
    assert models.detect(model, np.zeros((1, 16, 16, 3), np.float32))[0][0].tolist() == [0]


def test_a_few_pictures_are_learned_by_the_detector():
    found = generate.scenes(24, 48, seed=8)
    rb.manual_seed(0)
    model = models.detector(channels=(12, 16, 24))
    target = models.detection_targets(found.labels, found.boxes, (48, 48), 6)
    learn(model, found.x, target, models.GridLoss(), 150, 4e-3, 8)
    truth = list(zip(found.labels, found.boxes, strict=True))
    assert metrics.mean_average_precision(truth, models.detect(model, found.x)) > 0.9


# --- masks


@quick
def test_aligned_features_are_scipys():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(6)
    features = rng.standard_normal((3, 6, 5, 2))
    boxes = np.array([[0, 0, 20, 24], [3.3, 5.1, 11.7, 9.2], [10, 2, 19.5, 23], [-4, -3, 6, 30]])
    images = np.array([0, 2, 1, 2])
    got = models.roi_align(features, boxes, images, 4, 4)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        down = (y0 + (np.arange(4) + 0.5) / 4 * (y1 - y0)) / 4 - 0.5
        across = (x0 + (np.arange(4) + 0.5) / 4 * (x1 - x0)) / 4 - 0.5
        at = np.stack(np.meshgrid(down, across, indexing="ij"))
        for f in range(2):
            want = ndimage.map_coordinates(features[images[i], ..., f], at, order=1, mode="nearest")
            assert np.abs(got[i, ..., f] - want).max() < 1e-12
    rb.gradcheck(lambda t: models.roi_align(t, boxes, images, 3, 4), [features])


@quick
def test_masks_go_into_their_boxes_and_back():
    found = generate.scenes(12, 48, seed=9)
    masks = found.masks > 0
    boxes = found.boxes[:, 0]
    small = models.mask_targets(masks, boxes, 28)
    assert small.shape == (12, 28, 28, 1) and set(np.unique(small)) == {0.0, 1.0}
    back = models.paste_masks(small, boxes, (48, 48))
    for n in range(12):
        assert metrics.iou(masks[n].astype(int), back[n].astype(int), None)[1] > 0.85
        x0, y0, x1, y1 = boxes[n].astype(int)
        outside = back[n].copy()
        outside[y0:y1, x0:x1] = False
        assert not outside.any()
    whole = models.paste_masks(np.ones((1, 4, 4, 1)), [[2, 1, 5, 7]], (9, 8))[0]
    assert np.argwhere(whole).min(0).tolist() == [1, 2] and np.argwhere(whole).max(0).tolist() == [6, 4]


def test_mask_head_learns_outlines_from_features():
    """Raw pixels as features: the head has to tell an object from what its box shows around it."""
    found, other = generate.scenes(120, 32, seed=10), generate.scenes(40, 32, seed=11)

    def crops(s):
        return models.roi_align(s.x, s.boxes[:, 0], np.arange(len(s)), 8, 1)

    rb.manual_seed(0)
    head = models.mask_head(features=3, channels=8)
    learn(head, crops(found), models.mask_targets(found.masks > 0, found.boxes[:, 0], 16), nn.BCEWithLogitsLoss(), 15,
          1e-2)  # fmt: skip
    answer = (head.predict(crops(other)) > 0).astype(int)
    truth = models.mask_targets(other.masks > 0, other.boxes[:, 0], 16).astype(int)
    assert metrics.iou(truth, answer) > 0.75


# --- refusals


@quick
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.dilated_segmenter(input_shape=(8, 8)), r"\(H,W,C\)"),
        (lambda: models.dilated_segmenter(dilations=()), "at least one dilation"),
        (lambda: models.dilated_segmenter(dilations=(1, 0)), "dilations"),
        (lambda: models.recurrent_segmenter(kernel=(3, 3)), "three sides"),
        (lambda: models.recurrent_segmenter(steps=0), "steps"),
        (lambda: models.detector(channels=(1, 2)), "three numbers of channels"),
        (lambda: models.detection_targets(*objects(), (16, 16), 2), r"labels in -1\.\.1"),
        (lambda: models.detection_targets(*objects(), (12, 12), 3), "centres of boxes"),
        (lambda: models.detection_targets(objects()[0], objects()[1][..., ::-1], (16, 16), 3), "x0 < x1"),
        (lambda: models.detection_targets(objects()[0], objects()[1][0], (16, 16), 3), r"boxes \[N,M,4\]"),
        (lambda: models.GridLoss()(np.zeros((1, 2, 2, 8)), np.zeros((1, 2, 2, 7))), "prediction and target"),
        (lambda: models.nms(np.zeros((2, 4)), np.zeros(3)), r"scores \[D\]"),
        (lambda: models.roi_align(np.zeros((1, 4, 4, 2)), np.zeros((1, 4)), [1]), r"images in 0\.\.0"),
        (lambda: models.roi_align(np.zeros((1, 4, 4)), np.zeros((1, 4)), [0]), r"features \[N,P,Q,F\]"),
        (lambda: models.mask_targets(np.zeros((4, 4)), np.zeros((1, 4))), r"masks \[B,H,W\]"),
        (lambda: models.paste_masks(np.zeros((1, 4, 4, 2)), np.zeros((1, 4)), (8, 8)), r"\[B,m,m,1\]"),
        (lambda: models.mask_head(features=0), "features"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
