"""The report of a training run: one HTML file that opens offline, in light or dark.

Promises: nothing outside the file is referred to (styles and pictures are inline), every text that came from data,
options or file names is escaped, and it is written atomically. Charts and pictures are matplotlib's, which is
imported when a report is rendered; the same run gives the same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..io.atomic import write_text_atomic
from ..io.extras import require
from .figures import PURPOSE, Series, figure_uri, image_uri, line_chart, signed_uri
from .training import histogram_map, layer_norms

if TYPE_CHECKING:
    from ..train import HistogramRecord

__all__ = ["Run", "confusion_matrix", "write_report"]

Array = npt.NDArray[Any]

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--fg:#1d1d1f;--dim:#6b6b70;--rule:#e4e2dd;--accent:#0b63a5;
--a:#0b63a5;--b:#c8501e;--c:#5d7f2b;--good:46,125,80;--bad:190,60,40}
@media (prefers-color-scheme:dark){:root{--bg:#151618;--card:#1e2023;--fg:#e8e6e3;--dim:#9c9ca3;--rule:#34363b;
--accent:#6db3f2;--a:#6db3f2;--b:#f0935f;--c:#a9cf6a;--good:90,190,130;--bad:235,110,85}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px 64px}h1{font-size:30px;line-height:1.2;margin:0 0 4px;
letter-spacing:-.015em}h2{font-size:18px;margin:44px 0 12px;letter-spacing:-.005em}p{margin:0 0 12px;max-width:70ch}
.dim,.sub{color:var(--dim)}.note{border-left:3px solid var(--b);padding:2px 0 2px 12px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0 0}
.figures div,.chart,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px}
.figures div{padding:14px 16px}.figures b{display:block;font-size:25px;font-weight:600;line-height:1.25;
font-variant-numeric:tabular-nums}.figures span{color:var(--dim);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px}
.chart{margin:0;padding:14px 14px 6px}figcaption{font-weight:600;font-size:14px;margin-bottom:6px;display:flex;
justify-content:space-between;flex-wrap:wrap;gap:4px 16px}
.legend{font-weight:400;color:var(--dim);display:flex;gap:14px}
.legend b{color:var(--fg);font-weight:600;font-variant-numeric:tabular-nums}.legend i{display:inline-block;width:14px;
height:3px;border-radius:2px;margin-right:6px;vertical-align:middle}svg{width:100%;height:auto;display:block}
svg text{font-variant-numeric:tabular-nums}svg path{stroke-linejoin:round}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:5px 12px;text-align:right;
border-bottom:1px solid var(--rule);font-weight:400}th{color:var(--dim)}.keys td,.keys th{text-align:left;
vertical-align:top}.keys th{white-space:nowrap;padding-left:0}.keys td{overflow-wrap:anywhere}.table td:first-child,
.table th:first-child{text-align:left;padding-left:0}.bar{display:inline-block;height:8px;border-radius:2px;
background:rgb(var(--good));vertical-align:middle;margin-left:10px}
.confusion td,.confusion th{text-align:center;min-width:38px;padding:6px 4px;border:1px solid var(--bg);
border-radius:4px}.confusion{border-collapse:separate;border-spacing:0}.confusion .zero{color:var(--rule)}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:8px 40px;align-items:start}
.tiles{display:flex;flex-wrap:wrap;gap:10px}.tiles figure{margin:0;text-align:center;font-size:12px;color:var(--dim)}
img{image-rendering:pixelated;display:block;border-radius:4px;border:1px solid var(--rule)}
.mistakes figure{width:112px;padding:10px;text-align:left}.mistakes img{width:90px;height:90px;object-fit:contain;
background:#000;margin-bottom:6px}.mistakes b{color:var(--fg)}.wrong{color:rgb(var(--bad));font-weight:600}
.wide{margin:0 0 16px}.wide img{max-width:100%;height:auto;image-rendering:auto;border-radius:10px}
pre{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px;overflow-x:auto;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:0}
"""


@dataclass(frozen=True)
class Run:
    """Everything a report shows.

    Attributes
    ----------
    title : the heading.
    subtitle : one line below it, for example the paper.
    config : option -> value, shown as a table.
    figures : label -> value, the large numbers at the top.
    epochs : the numbers of the epochs trained.
    history : curves by name ("loss", "accuracy", "val_*" or "test_*", "lr"), one value per epoch.
    y : true class of each evaluated sample [N].
    scores : the network's output for each [N,K]: probabilities, or net inputs of threshold units.
    score_kind : which of the two.
    x : the evaluated images [N,H,W,C] in [0, 1] as they came, or None when they are not images.
    classes : K names.
    filters : weights of the first layer as [K,R,S,C] images, or None.
    filters_title : what they are.
    environment : versions and machine, as text.
    records : norms and histograms of the layers, as `train.Histograms` keeps them.
    interrupted : whether training was stopped early by hand.
    boundary : `viz.decision_boundary` of the network, for data in the plane, or None.
    pictures : what belongs to one kind of network alone: (heading, explanation, matplotlib Figure).
    """

    title: str
    config: Mapping[str, object]
    figures: Mapping[str, str]
    epochs: Sequence[int]
    history: Mapping[str, Sequence[float]]
    y: Array
    scores: Array
    classes: Sequence[str]
    x: Array | None = None
    subtitle: str = ""
    score_kind: Literal["probability", "net input"] = "probability"
    filters: Array | None = None
    filters_title: str = "First layer"
    environment: str = ""
    interrupted: bool = False
    notes: Sequence[str] = field(default_factory=tuple)
    pictures: Sequence[tuple[str, str, Any]] = field(default_factory=tuple)
    records: Sequence[HistogramRecord] = field(default_factory=tuple)
    boundary: Any = None


def confusion_matrix(y_true: Array, y_predicted: Array, classes: int) -> npt.NDArray[np.int64]:
    """Counts [K,K]: row is the true class, column the predicted one. Labels are [N] in [0, K)."""
    flat = np.asarray(y_true, np.int64) * classes + np.asarray(y_predicted, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _keys(rows: Mapping[str, object]) -> str:
    cells = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f'<table class="keys">{cells}</table>'


def _curves(run: Run) -> str:
    charts = []
    for key, title, percent in (("loss", "Loss", False), ("accuracy", "Accuracy", True)):
        lines = [Series("training", run.history.get(key, ()), "--a")]
        for prefix, label, colour in (("val_", "validation", "--b"), ("test_", "test", "--c")):
            if prefix + key in run.history:
                lines.append(Series(label, run.history[prefix + key], colour))
        charts.append(line_chart(lines, run.epochs, title=title, x_label="epoch", percent=percent))
    rates = run.history.get("lr", ())
    if len(set(rates)) > 1:
        charts.append(line_chart([Series("lr", rates, "--a")], run.epochs, title="Learning rate", x_label="epoch"))
    drawn = "".join(charts)
    note = (
        "Training values are means over each epoch while the weights change, on augmented samples where there is "
        "augmentation."
    )
    return f'<h2>Training</h2><p class="dim">{note}</p><div class="charts">{drawn}</div>' if drawn else ""


def _confusion(run: Run, counts: Array) -> str:
    """The matrix as a table; beyond 25 classes it would be unreadable and the per-class table has to do."""
    k = len(run.classes)
    if k > 25:
        return ""
    totals = np.maximum(counts.sum(axis=1), 1)
    head = "".join(f"<th>{escape(c)}</th>" for c in run.classes)
    rows = []
    for i in range(k):
        cells = []
        for j in range(k):
            n, share = int(counts[i, j]), counts[i, j] / totals[i]
            if n == 0:
                cells.append('<td class="zero">·</td>')
            else:
                strength = 0.08 + (0.5 if i == j else 0.8) * (share if i == j else min(1.0, 4 * share))
                kind = "good" if i == j else "bad"
                cells.append(f'<td style="background:rgba(var(--{kind}),{strength:.2f})">{n}</td>')
        rows.append(f"<tr><th>{escape(run.classes[i])}</th>{''.join(cells)}</tr>")
    return (
        '<div><h2>Confusion matrix</h2><p class="dim">Rows: the true class. Columns: the predicted one.</p>'
        f'<div class="scroll"><table class="confusion"><tr><th></th>{head}</tr>{"".join(rows)}</table></div></div>'
    )


def _per_class(run: Run, counts: Array) -> str:
    rows = []
    for i, name in enumerate(run.classes):
        hit, support, predicted = int(counts[i, i]), int(counts[i].sum()), int(counts[:, i].sum())
        precision = hit / predicted if predicted else math.nan
        recall = hit / support if support else math.nan
        f1 = 2 * hit / (support + predicted) if support + predicted else math.nan
        width = 0 if math.isnan(f1) else round(60 * f1)
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{_number(precision)}</td><td>{_number(recall)}</td>"
            f'<td>{_number(f1)}<span class="bar" style="width:{width}px"></span></td><td>{support}</td></tr>'
        )
    head = "<tr><th>class</th><th>precision</th><th>recall</th><th>F1</th><th>samples</th></tr>"
    return (
        '<div><h2>Per class</h2><p class="dim">Precision, recall and their harmonic mean.</p>'
        f'<div class="scroll"><table class="table">{head}{"".join(rows)}</table></div></div>'
    )


def _filters(run: Run) -> str:
    if run.filters is None or run.filters.ndim != 4 or 0 in run.filters.shape:
        return ""
    w = np.asarray(run.filters, np.float64)[:64]  # [K,R,S,C]
    limit = float(np.nanmax(np.abs(w))) if np.isfinite(w).any() else 0.0
    pixel = max(2, min(14, 96 // max(w.shape[1], w.shape[2])))
    size = f'width="{w.shape[2] * pixel}" height="{w.shape[1] * pixel}"'
    colour = w.shape[3] == 3
    tiles = []
    for k in range(len(w)):
        source = image_uri(0.5 + w[k] / (2 * (limit or 1.0))) if colour else signed_uri(w[k].mean(axis=2), limit)
        tiles.append(f'<figure><img {size} alt="unit {k}" src="{source}">{k}</figure>')
    scale = "" if colour else f" Blue is negative, white zero, red positive; full colour is {limit:.3g}."
    if w.shape[3] not in (1, 3):
        scale += f" The mean over {w.shape[3]} input channels."
    more = f" The first {len(w)} of {len(run.filters)}." if len(run.filters) > len(w) else ""
    return (
        f'<h2>{escape(run.filters_title)}</h2><p class="dim">The weights of each unit.{scale}{more}</p>'
        f'<div class="tiles">{"".join(tiles)}</div>'
    )


def _layers(run: Run) -> str:
    """Norms per layer over the epochs, and the histograms of each kind that was recorded."""
    if not run.records:
        return ""
    kinds = [k for k in ("gradients", "activations", "weights") if any(r.kind == k for r in run.records)]
    parts = [("Root mean square per layer", figure_uri(layer_norms(run.records)))]
    parts += [(f"Histograms: {k}", figure_uri(histogram_map(run.records, k))) for k in kinds]
    drawn = "".join(
        f'<figure class="wide"><figcaption>{title}</figcaption><img alt="{title}" src="{uri}"></figure>'
        for title, uri in parts
    )
    note = (
        "Observed between the epochs on one sample, in evaluation mode; epoch 0 is before training. Dark lines are "
        "near the input, light ones near the output."
    )
    return f'<h2>Layers</h2><p class="dim">{note}</p>{drawn}'


def _boundary(run: Run) -> str:
    if run.boundary is None:
        return ""
    title = "Decision boundary"
    return f'<h2>{title}</h2><figure class="wide"><img alt="{title}" src="{figure_uri(run.boundary)}"></figure>'


def _mistakes(run: Run, predicted: Array, losses: Array) -> str:
    wrong = np.flatnonzero(predicted != run.y)
    if len(wrong) == 0:
        return '<h2>Worst mistakes</h2><p class="dim">None: every test sample is right.</p>' if len(run.y) else ""
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:24]
    images = run.x if run.x is not None and run.x.ndim == 4 else None
    cards = []
    for i in worst:
        picture = ""
        if images is not None:
            picture = f'<img alt="sample {i}" src="{image_uri(images[i])}">'
        true, guess = int(run.y[i]), int(predicted[i])
        cards.append(
            f'<figure class="card">{picture}<b>{escape(run.classes[true])}</b> read as '
            f'<span class="wrong">{escape(run.classes[guess])}</span><br>'
            f"{run.scores[i, guess]:.3f} against {run.scores[i, true]:.3f}<br>sample {i}</figure>"
        )
    return (
        f'<h2>Worst mistakes</h2><p class="dim">{len(wrong)} of {len(run.y)} samples are wrong; these have the '
        f"highest loss. The numbers are the {escape(run.score_kind)} of the answer given and of the true class.</p>"
        f'<div class="tiles mistakes">{"".join(cards)}</div>'
    )


def _losses(run: Run) -> Array:
    """How wrong each sample is [N]: minus log of the true class's probability, or the margin between net inputs."""
    own = np.take_along_axis(run.scores, np.asarray(run.y, np.int64)[:, None], axis=1)[:, 0].astype(np.float64)
    if run.score_kind == "probability":
        return np.asarray(-np.log(np.maximum(own, 1e-30)))
    return np.asarray(run.scores.max(axis=1) - own)


def render(run: Run) -> str:
    """The report as HTML text.

    Raises ValueError when y, scores and classes do not belong together, MissingExtraError without matplotlib.
    """
    require("matplotlib.figure", "demo", PURPOSE)
    n, k = len(run.y), len(run.classes)
    if run.scores.shape != (n, k):
        raise ValueError(f"report: expected scores [{n},{k}] for {n} samples, got {list(run.scores.shape)}")
    if run.x is not None and len(run.x) != n:
        raise ValueError(f"report: expected {n} images, got {len(run.x)}")
    parts = [f"<h1>{escape(run.title)}</h1>"]
    if run.subtitle:
        parts.append(f'<p class="sub">{escape(run.subtitle)}</p>')
    notes = ["Training was interrupted: these are the best weights up to that point."] if run.interrupted else []
    parts += [f'<p class="note">{escape(note)}</p>' for note in [*notes, *run.notes]]
    cards = "".join(f"<div><b>{escape(v)}</b><span>{escape(label)}</span></div>" for label, v in run.figures.items())
    parts.append(f'<div class="figures">{cards}</div>' if cards else "")
    parts.append(_curves(run))
    parts.append(_boundary(run))
    if n:
        predicted = run.scores.argmax(axis=1)
        counts = confusion_matrix(run.y, predicted, k)
        parts.append(f'<div class="two">{_confusion(run, counts)}{_per_class(run, counts)}</div>')
        parts.append(_mistakes(run, predicted, _losses(run)))
    for title, note, figure in run.pictures:
        parts.append(
            f'<h2>{escape(title)}</h2><p class="dim">{escape(note)}</p><figure class="wide">'
            f'<img alt="{escape(title)}" src="{figure_uri(figure)}"></figure>'
        )
    parts.append(_filters(run))
    parts.append(_layers(run))
    parts.append(f"<h2>Configuration</h2>{_keys(run.config)}")
    if run.environment:
        parts.append(f"<h2>Environment</h2><pre>{escape(run.environment)}</pre>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(run.title)}</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main>"
        "</body></html>\n"
    )


def write_report(path: str | os.PathLike[str], run: Run) -> None:
    """Write the report of `run` to `path` as one self-contained HTML file, atomically.

    Raises
    ------
    ValueError
        y, scores, images and classes do not belong together.
    MissingExtraError
        matplotlib is not installed.
    OSError
        the file could not be written.
    """
    write_text_atomic(path, render(run))
