"""Seeing inside convolutional networks: filters, feature maps, and what in the input a network looks at.

The functions return arrays; `feature_map_grid` and `heat_maps` draw them. Images are [N,H,W,C], the network is put into
evaluation mode for the time of a call, and its parameters and gradients stay as they were.

A deconvnet is the gradient with another rule for rectifiers: their backward pass is a rectifier, too (M. D. Zeiler,
R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014). Rectifiers are the option
`activation="relu"` of layers and `nn.ReLU`; a network that calls `ops.relu` is refused.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..autograd import grad, no_grad
from ..custom import Context, Function
from ..nn import ReLU, Sequential
from ..nn.convolution import _ConvTranspose, _Weighted
from ..nn.module import Module
from ..ops._geometry import resolve_padding
from ..optim import Adam
from ..tensor import Parameter, Tensor, float_array, wrap
from .plots import _figure

__all__ = [
    "convolutions", "deconvnet", "feature_map_grid", "feature_maps", "heat_maps", "layer_filters",
    "maximise_activation", "occlusion", "pixel_utilisation", "saliency",
]

Array = npt.NDArray[Any]


# --- running a network and listening to a layer


def _layer(where: str, model: Module, path: str) -> Module:
    found = dict(model.named_modules()).get(path)
    if found is None:
        names = ", ".join(name for name, _ in model.named_modules() if name)
        raise ValueError(f"{where}: no layer {path!r}; there are {names or 'none'}")
    return found


def _images(where: str, model: Module, x: Any) -> Array:
    """x as a float array in the dtype of the parameters. Raises ValueError unless it is a batch."""
    first = next(model.parameters(), None)
    array = float_array(where, x, None if first is None else first.dtype)
    if array.ndim < 3 or not len(array):
        raise ValueError(f"{where}: expected a batch of images [N,H,W,C], got shape {list(array.shape)}")
    return array


@contextlib.contextmanager
def _quiet(model: Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of parameters, for a while."""
    modes = [(m, m.training) for m in model.modules()]
    wants = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.eval()
        for p, _ in wants:
            p.requires_grad = False
        yield
    finally:
        for module, mode in modes:
            object.__setattr__(module, "training", mode)
        for p, want in wants:
            p.requires_grad = want


@contextlib.contextmanager
def _listening(layers: Mapping[str, Module]) -> Iterator[dict[str, Any]]:
    """What each layer gives, by its path, as far as it is called; the last call counts."""
    heard: dict[str, Any] = {}

    def hook(path: str) -> Callable[..., None]:
        def keep(_: Module, __: tuple[Any, ...], out: Any) -> None:
            heard[path] = out

        return keep

    handles = [layer.register_forward_hook(hook(path)) for path, layer in layers.items()]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _reached(where: str, heard: Mapping[str, Any], path: str) -> Any:
    if not isinstance(heard.get(path), Tensor):
        raise ValueError(f"{where}: layer {path!r} gave no tensor for this input")
    return heard[path]


def convolutions(model: Module) -> list[str]:
    """Paths of the convolution layers of any kind but transposed ones, in order of assignment."""
    return [n for n, m in model.named_modules() if isinstance(m, _Weighted) and not isinstance(m, _ConvTranspose)]


def layer_filters(model: Module, layer: str | None = None) -> Array:
    """The kernels of a convolution layer [K,..,C] (default: the first); unshared and tiled kernels one after another.

    Raises ValueError when there is no such layer, or it is no convolution.
    """
    known = convolutions(model)
    if not known or (layer is not None and layer not in known):
        raise ValueError(
            f"layer_filters: expected a convolution layer ({', '.join(known) or 'there is none'}), got {layer!r}"
        )
    module = _layer("layer_filters", model, known[0] if layer is None else layer)
    assert isinstance(module, _Weighted)
    weight, kernel = np.array(module.weight.data), module.kernel_size
    if weight.ndim == len(kernel) + 1:  # of a connection table: one channel each
        weight = weight[..., None]
    return weight.reshape(-1, *weight.shape[-len(kernel) - 1 :])


def feature_maps(model: Module, x: Any, layers: Sequence[str] | None = None) -> dict[str, Array]:
    """What layers give for images x [N,H,W,C]: path -> [N,P,Q,K]. Default: all convolution layers.

    Raises ValueError for layers that do not exist or are not reached by x.
    """
    where = "feature_maps"
    paths = convolutions(model) if layers is None else list(layers)
    array = _images(where, model, x)
    with _quiet(model), _listening({p: _layer(where, model, p) for p in paths}) as heard, no_grad():
        model(wrap(array))
    return {p: np.array(_reached(where, heard, p).data) for p in paths}


# --- where it looks


def _labels(where: str, labels: Any, n: int) -> Array:
    y = np.asarray(labels)
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise ValueError(f"{where}: expected integer labels [{n}], got {y.dtype} of shape {list(y.shape)}")
    return y.astype(np.int64)


def _known_labels(where: str, y: Array, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or (len(y) and not 0 <= int(y.min()) <= int(y.max()) < shape[1]):
        raise ValueError(
            f"{where}: expected class scores [N,K] and labels in 0..K-1, got {list(shape)} and {y.min()}..{y.max()}"
        )


def occlusion(
    model: Module, x: Any, labels: Any, size: int, *, stride: int = 1, fill: float = 0.0, probability: bool = True,
    batch_size: int = 256,
) -> Array:
    """How much the class's score falls when a square of the image is covered (Zeiler & Fergus 2014): [N,P,Q].

    Entry (p, q) belongs to the square with rows p * stride .. p * stride + size - 1 and columns likewise; only squares
    inside the image are tried.

    x : [N,H,W,C]; labels : [N] the class whose score counts; size, stride : pixels; fill : what covers
    probability : softmax of the network's outputs (True), or the outputs themselves

    Raises ValueError for other shapes, labels out of range and a square larger than the image.
    """
    where = "occlusion"
    array = _images(where, model, x)
    size, stride = whole(where, "size", size, 1), whole(where, "stride", stride, 1)
    y = _labels(where, labels, len(array))
    if array.ndim != 4 or size > min(array.shape[1:3]):
        raise ValueError(f"{where}: expected images [N,H,W,C] of at least {size} pixels, got {list(array.shape)}")

    def scores(images: Array) -> Array:
        out = np.asarray(model.predict(images, batch_size, capture=False))
        return np.asarray(ops.softmax(out, 1)) if probability else out

    whole_images = scores(array)
    _known_labels(where, y, whole_images.shape)
    rows = range(0, array.shape[1] - size + 1, stride)
    columns = range(0, array.shape[2] - size + 1, stride)
    drop = np.empty((len(array), len(rows), len(columns)), array.dtype)
    for n, image in enumerate(array):
        covered = np.broadcast_to(image, (len(rows) * len(columns), *image.shape)).copy()
        for i, (r, c) in enumerate((r, c) for r in rows for c in columns):
            covered[i, r : r + size, c : c + size] = fill
        left = scores(covered)[:, y[n]]
        drop[n] = whole_images[n, y[n]] - left.reshape(len(rows), len(columns))
    return drop


def saliency(model: Module, x: Any, labels: Any) -> Array:
    """max over the channels of |d score / d x| for each image's class: [N,H,W].

    x : [N,H,W,C]; labels : [N]; the score is the network's output, before a softmax. Raises ValueError for other
    shapes and labels out of range.

    K. Simonyan, A. Vedaldi, A. Zisserman, Deep inside convolutional networks, ICLR 2014 workshop.
    """
    where = "saliency"
    array = _images(where, model, x)
    y = _labels(where, labels, len(array))
    with _quiet(model):
        t = Tensor(array, requires_grad=True)
        out = model(t)
        _known_labels(where, y, tuple(out.shape))
        (g,) = grad(out, t, np.asarray(ops.one_hot(y, out.shape[1], array.dtype)))
    return np.asarray(np.abs(g.data).max(-1))


class _Rectified(Function):
    """max(x, 0) whose gradient rectifies the gradient: a deconvnet's rectifier; with `gate` where x > 0, too."""

    @staticmethod
    def forward(ctx: Context, x: Any, gate: bool) -> Any:
        ctx.save_for_backward(ops.greater(x, 0.0) if gate else None)
        return ops.relu(x)

    @staticmethod
    def backward(ctx: Context, g: Any) -> Any:
        (open_,) = ctx.saved_tensors
        g = ops.relu(g)
        return g if open_ is None else ops.mul(g, open_), None


@contextlib.contextmanager
def _rectifiers(model: Module, rule: str) -> Iterator[None]:
    """The network's rectifiers with the backward rule of "deconvnet" or "guided" for a while."""
    if rule == "gradient":
        yield
        return
    gate = rule == "guided"
    fused = [m for m in model.modules() if getattr(m, "activation", None) == "relu"]
    plain = [m for m in model.modules() if isinstance(m, ReLU)]
    handles = [m.register_forward_hook(lambda _, __, out: _Rectified.apply(out, gate)) for m in fused]
    handles += [m.register_forward_hook(lambda _, args, __: _Rectified.apply(args[0], gate)) for m in plain]
    try:
        for m in fused:
            object.__setattr__(m, "activation", None)
        yield
    finally:
        for m in fused:
            object.__setattr__(m, "activation", "relu")
        for handle in handles:
            handle.remove()


def _refuse_bare_relu(root: Tensor) -> None:
    """Raises ValueError when the tape of `root` holds a rectifier that no layer owns."""
    seen: set[int] = set()
    ahead = [root._node]
    while ahead:
        node = ahead.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.name == "relu":
            raise ValueError("deconvnet: the network calls ops.relu in forward, whose gradient cannot be replaced; "
                             "use nn.ReLU or activation='relu'")  # fmt: skip
        ahead += [t._node for t in node.inputs if isinstance(t, Tensor)]


def deconvnet(model: Module, x: Any, layer: str, unit: int | None = None, rule: str = "deconvnet") -> Array:
    """The strongest activation of a feature map carried back to the pixels: [N,H,W,C].

    For each image all activations of the layer but the strongest of map `unit` (default: of any map) are set to zero;
    what is left goes back through transposed convolutions, unpooling by the switches of the maximum and rectifiers.

    x : [N,H,W,C]; layer : path of a layer with outputs [N,..,K], from `convolutions(model)` for example
    rule : at rectifiers, "deconvnet" passes on the positive part of what comes back, "gradient" what comes back where
        the forward pass was positive, "guided" both (J. T. Springenberg et al., ICLR 2015 workshop)

    Other layers take their gradient. Raises ValueError for unknown layers, units and rules, and networks that call
    `ops.relu` themselves.
    """
    where = "deconvnet"
    if rule not in ("deconvnet", "gradient", "guided"):
        raise ValueError(f"{where}: rule must be 'deconvnet', 'gradient' or 'guided', got {rule!r}")
    array = _images(where, model, x)
    target = _layer(where, model, layer)
    with _quiet(model), _rectifiers(model, rule), _listening({layer: target}) as heard:
        t = Tensor(array, requires_grad=True)
        model(t)
        out = _reached(where, heard, layer)
        if rule != "gradient":
            _refuse_bare_relu(out)
        values = np.asarray(out.data)
        if unit is not None and not 0 <= unit < values.shape[-1]:
            raise ValueError(f"{where}: layer {layer!r} has units 0..{values.shape[-1] - 1}, got {unit!r}")
        flat = values.reshape(len(values), -1, values.shape[-1])  # [N,places,K]
        own = flat if unit is None else flat[..., unit : unit + 1]
        best = own.reshape(len(own), -1).argmax(1)
        place, which = best // own.shape[2], best % own.shape[2] if unit is None else np.full(len(own), unit)
        seed = np.zeros_like(flat)
        each = np.arange(len(flat))
        seed[each, place, which] = flat[each, place, which]
        (back,) = grad(out, t, seed.reshape(values.shape))
    return np.array(back.data)


def maximise_activation(
    model: Module, input_shape: Sequence[int], unit: int, layer: str | None = None, *, steps: int = 200,
    lr: float = 0.05, l2: float = 1e-2, limits: tuple[float, float] | None = (0.0, 1.0), start: Any = None,
    seed: int = 0,
) -> tuple[Array, float]:
    """(image [H,W,C], activation): the image that drives a unit most, by gradient ascent on activation - l2/2 |x|^2.

    input_shape : (H,W,C); unit : an output, or a map of `layer`, of which the unit in the middle is taken
    steps, lr : of Adam, the rate falling to 0 by a cosine; limits : values the pixels are held within, or None
    start : image to begin with, default noise of deviation 0.1 around the middle of the limits, drawn by `seed`

    Raises ValueError for unknown layers and units and limits that are not in order.

    D. Erhan, Y. Bengio, A. Courville, P. Vincent, Visualizing higher-layer features of a deep network, 2009.
    """
    where = "maximise_activation"
    steps = whole(where, "steps", steps, 1)
    shape = tuple(whole(where, "input_shape", n, 1) for n in input_shape)
    if limits is not None and not limits[0] < limits[1]:
        raise ValueError(f"{where}: expected limits (low, high) with low < high, got {limits!r}")
    first = next(model.parameters(), None)
    dtype = np.float32 if first is None else first.dtype
    if start is None:
        middle = 0.0 if limits is None else (limits[0] + limits[1]) / 2
        start = middle + 0.1 * np.random.default_rng(seed).standard_normal(shape)
    image = np.array(start, dtype)
    if image.shape != shape:
        raise ValueError(f"{where}: expected a start of shape {shape}, got {image.shape}")
    if limits is not None:
        image = np.clip(image, *limits)
    x = Parameter(image[None])
    path = "" if layer is None else layer
    target = _layer(where, model, path)

    def activation() -> Tensor:
        with _listening({path: target}) as heard:
            model(x)
        out = _reached(where, heard, path)
        if not 0 <= unit < out.shape[-1]:
            raise ValueError(f"{where}: expected a unit in 0..{out.shape[-1] - 1}, got {unit!r}")
        centre = (0, *(n // 2 for n in out.shape[1:-1]), unit)
        one: Tensor = out[centre]
        return one

    optimizer = Adam([x], lr=lr, maximize=True)
    with _quiet(model):
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            x.grad = None
            aim: Any = activation()
            if l2:
                aim = aim - 0.5 * l2 * (x * x).sum()
            aim.backward()
            optimizer.step()
            if limits is not None:
                x.data = np.clip(x.data, *limits)
        with no_grad():
            value = activation().item()
    return np.array(x.data[0]), value


# --- how often a pixel is used


def _counts(outputs: Array, size: int, kernel: int, stride: int, pad: int, dilation: int) -> Array:
    """For outputs that count `outputs` [P] times each: how often each of `size` inputs counts."""
    used = np.zeros(size, np.int64)
    for tap in range(kernel):
        at = np.arange(len(outputs)) * stride - pad + tap * dilation  # [P]
        inside = (at >= 0) & (at < size)
        np.add.at(used, at[inside], outputs[inside])
    return used


def _chain(model: Module) -> list[Module]:
    return [m for part in model for m in _chain(part)] if isinstance(model, Sequential) else [model]


def pixel_utilisation(layers: Module | Sequence[Module], input_shape: Sequence[int]) -> Array:
    """How often each pixel is used: [H,W], the number of windows that touch it (notes A:O8, A:N10).

    For several layers in a chain, the number of paths from the pixel to their outputs. With valid or no padding border
    pixels are used least; "full" padding uses all equally.

    layers : convolutions, pools and layers that keep the size (activations, dropout), as a module or a sequence
    input_shape : (H,W,C), also (L,C) and (D,H,W,C)

    Raises ValueError for padding other than zeros, transposed and other layers that change the size.
    """
    where = "pixel_utilisation"
    chain = [m for part in ([layers] if isinstance(layers, Module) else layers) for m in _chain(part)]
    shape = tuple(whole(where, "input_shape", n, 1) for n in input_shape)
    x = wrap(np.zeros((1, *shape), np.float32))
    passed: list[tuple[Module, tuple[int, ...]]] = []
    for m in chain:
        with _quiet(m), no_grad():
            first = next(m.parameters(), None)
            y = m(x if first is None else x.astype(first.dtype))
        before, after = x.shape[1:-1], y.shape[1:-1]
        windowed = hasattr(m, "kernel_size") and hasattr(m, "stride")
        if isinstance(m, _ConvTranspose) or (not windowed and before != after) or len(before) != len(after):
            raise ValueError(f"{where}: {type(m).__name__} changes the size and has no windows")
        border = getattr(m, "padding_mode", "zeros")
        if border != "zeros":
            raise ValueError(f"{where}: {type(m).__name__}: expected a border of zeros, got {border!r}")
        if windowed:
            passed.append((m, before))
        x = y
    used = [np.ones(n, np.int64) for n in x.shape[1:-1]]
    for m, sizes in reversed(passed):
        layer: Any = m
        one = (1,) * len(sizes)
        dilation = getattr(layer, "dilation", one)
        pads = resolve_padding(
            where, getattr(layer, "padding", 0), sizes, layer.kernel_size, layer.stride, dilation
        )
        used = [
            _counts(used[i], n, layer.kernel_size[i], layer.stride[i], pads[i][0], dilation[i])
            for i, n in enumerate(sizes)
        ]
    total: Array = used[0]
    for more in used[1:]:
        total = np.multiply.outer(total, more)
    return total


# --- drawn


def feature_map_grid(maps: Mapping[str, Any], most: int = 12) -> Any:
    """A matplotlib Figure with a row for each layer: the first `most` feature maps of one image.

    maps : path -> [P,Q,K], as `feature_maps(...)[path][0]`; each map has its own scale, dark is the least value.
    Raises ValueError for other shapes and when there are none.
    """
    most = whole("feature_map_grid", "most", most, 1)
    arrays = {name: np.asarray(a, np.float64) for name, a in maps.items()}
    if not arrays or any(a.ndim != 3 or 0 in a.shape for a in arrays.values()):
        raise ValueError(
            "feature_map_grid: expected maps [P,Q,K] by name, got "
            + (", ".join(f"{n}: {list(a.shape)}" for n, a in arrays.items()) or "nothing")
        )
    columns = min(most, max(a.shape[2] for a in arrays.values()))
    figure = _figure(0.8 * columns + 1.4, 0.85 * len(arrays) + 0.1)
    panels = figure.subplots(len(arrays), columns, squeeze=False)
    for line, (name, a) in zip(panels, arrays.items(), strict=True):
        for k, axes in enumerate(line):
            if k < a.shape[2]:
                axes.imshow(np.nan_to_num(a[..., k]), cmap="gray", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
            elif k:
                axes.remove()
        line[0].set_ylabel(f"{name}\n{a.shape[0]}x{a.shape[1]}x{a.shape[2]}", rotation=0, ha="right", va="center",
                           fontsize=8, parse_math=False)  # fmt: skip
    return figure


def heat_maps(images: Any, rows: Mapping[str, Any], titles: Sequence[str] = ()) -> Any:
    """A matplotlib Figure: images on top, under each its maps, one row for each name.

    images : [N,H,W,1 or 3] in [0, 1]; rows : name -> [N,P,Q] maps (blue below zero, red above, 0 white, each on a scale
    of its own) or [N,P,Q,C] pictures (grey for C = 1, the mean's place at grey, each scaled to its largest value)
    titles : [N], over the images. Raises ValueError for other shapes.
    """
    x = np.asarray(images, np.float64)
    if x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"heat_maps: expected images [N,H,W,1 or 3], got {list(x.shape)}")
    maps = {name: np.nan_to_num(np.asarray(a, np.float64)) for name, a in rows.items()}
    for name, a in maps.items():
        if a.ndim not in (3, 4) or len(a) != len(x) or 0 in a.shape or (a.ndim == 4 and a.shape[3] not in (1, 3)):
            shapes = f"[{len(x)},P,Q] or [{len(x)},P,Q,1 or 3]"
            raise ValueError(f"heat_maps: {name}: expected {shapes}, got {list(a.shape)}")
    if len(titles) not in (0, len(x)):
        raise ValueError(f"heat_maps: expected {len(x)} titles, got {len(titles)}")
    figure = _figure(1.2 * len(x) + 1.2, 1.2 * (len(maps) + 1) + 0.2)
    panels = figure.subplots(len(maps) + 1, len(x), squeeze=False)
    for n, axes in enumerate(panels[0]):
        axes.imshow(np.clip(np.nan_to_num(x[n]), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if len(titles):
            axes.set_title(titles[n], fontsize=8, parse_math=False)
    for line, a in zip(panels[1:], maps.values(), strict=True):
        for axes, one in zip(line, a, strict=True):
            limit = float(np.abs(one).max()) or 1.0
            if a.ndim == 3:
                axes.imshow(one, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            else:
                axes.imshow(0.5 + 0.5 * one / limit, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for line, name in zip(panels, ["image", *maps], strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8, parse_math=False)
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
    return figure
