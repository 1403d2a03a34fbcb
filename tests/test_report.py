"""The report stands alone, escapes what it is given, and shows the numbers it was given."""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from rosenblatt.viz import Run, confusion_matrix, png, write_report
from rosenblatt.viz.svg import Series, line_chart, ticks

pytestmark = pytest.mark.quick
EVIL = '<script>alert("x")</script>&'


def example(**changes) -> Run:
    rng = np.random.default_rng(0)
    scores = rng.random((30, 3))
    scores /= scores.sum(axis=1, keepdims=True)
    run = Run(
        title="net on data",
        config={"epochs": 3, "data": "here"},
        figures={"test accuracy": "97.22 %"},
        epochs=[1, 2, 3],
        history={"loss": [3.0, 2.0, 1.0], "accuracy": [0.2, 0.5, 0.9], "test_loss": [3, 2.5, 2], "lr": [0.1, 0.1, 0.1]},
        y=np.arange(30) % 3,
        scores=scores,
        classes=("a", "b", "c"),
        x=rng.random((30, 8, 8, 1)),
        filters=rng.normal(size=(6, 5, 5, 1)),
        environment="isa: test",
    )
    return dataclasses.replace(run, **changes)


class Tags(HTMLParser):
    VOID = ("meta", "img", "br", "line", "circle", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def written(tmp_path, run: Run) -> str:
    write_report(tmp_path / "report.html", run)
    return (tmp_path / "report.html").read_text("utf-8")


def test_report_stands_alone_and_is_well_formed(tmp_path):
    text = written(tmp_path, example())
    page = Tags(text)
    assert page.open == []
    assert "://" not in text and "@import" not in text
    for tag, attrs in page.seen:
        assert tag not in ("script", "link", "iframe", "object")
        for key in ("src", "href", "srcset"):
            assert key not in attrs or attrs[key].startswith("data:image/png;base64,")
    assert [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_report_shows_what_it_was_given(tmp_path):
    run = example()
    text = written(tmp_path, run)
    predicted = run.scores.argmax(axis=1)
    wrong = int((predicted != run.y).sum())
    assert f"{wrong} of 30 samples are wrong" in text
    for piece in ("97.22 %", "isa: test", "Confusion matrix", "Per class", "Worst mistakes", "epochs", "validation"):
        assert (piece in text) == (piece != "validation")
    losses = -np.log(run.scores[np.arange(30), run.y])
    worst = max(np.flatnonzero(predicted != run.y), key=lambda i: losses[i])
    assert re.search(r"sample (\d+)</figure>", text).group(1) == str(worst)
    assert len(re.findall(r"<svg", text)) == 2  # loss and accuracy; a constant rate is not worth a chart
    assert "interrupted" not in text
    assert "interrupted" in written(tmp_path, example(interrupted=True))


def test_every_text_is_escaped(tmp_path):
    text = written(
        tmp_path,
        example(
            title=EVIL,
            subtitle=EVIL,
            config={EVIL: EVIL},
            figures={EVIL: EVIL},
            classes=(EVIL, "b", "c"),
            environment=EVIL,
            notes=[EVIL],
            filters_title=EVIL,
        ),
    )
    assert "<script" not in text and "&lt;script&gt;" in text
    assert Tags(text).open == []


@pytest.mark.parametrize(
    "changes",
    [
        {"x": None, "filters": None},
        {"epochs": [], "history": {}},
        {"history": {"loss": [float("nan")] * 3, "accuracy": [0.5, float("inf"), 0.7]}},
        {"y": np.zeros(0, np.int64), "scores": np.zeros((0, 3)), "x": None},
        {"scores": np.eye(3)[np.arange(30) % 3]},
        {"score_kind": "net input", "scores": np.linspace(-5, 5, 90).reshape(30, 3)},
        {"x": np.zeros((30, 4, 4, 3)), "filters": np.zeros((80, 3, 3, 3))},
        {"x": np.zeros((30, 7)), "filters": np.full((2, 3, 3, 8), np.nan)},
    ],
)
def test_report_of_unusual_runs(tmp_path, changes):
    assert Tags(written(tmp_path, example(**changes))).open == []


def test_many_classes_have_no_matrix(tmp_path):
    k = 40
    run = example(classes=[str(i) for i in range(k)], scores=np.full((30, k), 1 / k))
    assert "Confusion matrix" not in written(tmp_path, run)


def test_report_refuses_what_does_not_belong_together(tmp_path):
    for changes in ({"scores": np.zeros((30, 2))}, {"x": np.zeros((29, 8, 8, 1))}):
        with pytest.raises(ValueError, match="report"):
            write_report(tmp_path / "r.html", example(**changes))
    assert not list(tmp_path.iterdir())


def test_confusion_matrix_rows_are_true_classes():
    got = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert got.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def decode(blob: bytes) -> np.ndarray:
    """A PNG without interlacing and filters, by the specification."""
    assert blob[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, head = 8, b"", None
    while at < len(blob):
        size, kind = struct.unpack(">I4s", blob[at : at + 8])
        content = blob[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + content) == struct.unpack(">I", blob[at + 8 + size : at + 12 + size])[0]
        head = struct.unpack(">IIBBBBB", content) if kind == b"IHDR" else head
        body += content if kind == b"IDAT" else b""
        at += 12 + size
    width, height, channels = head[0], head[1], {0: 1, 2: 3}[head[3]]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((height, width) if channels == 1 else (height, width, 3))


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (4, 6, 3)])
def test_png(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode(png.encode(pixels)), pixels)
    assert base64.b64decode(png.data_uri(pixels).split(",")[1]) == png.encode(pixels)
    with pytest.raises(ValueError, match="uint8"):
        png.encode(pixels.astype(np.float32))


def test_signed_colours():
    colours = png.signed(np.array([[-2.0, 0.0, 1.0]]), 2.0)[0].astype(int)
    assert colours[0][2] > colours[0][0] and colours[2][0] > colours[2][2] and (colours[1] == 247).all()


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for low, high in ((0.013, 0.92), (-3, 250), (1e-9, 2e-9)):
        marks = ticks(low, high)
        assert 2 <= len(marks) <= 8 and low * 0.999 <= marks[0] and marks[-1] <= high * 1.001


def test_chart_of_one_point_and_of_nothing():
    assert "circle" in line_chart([Series("s", [1.0], "--a")], [1], title="t", x_label="x")
    assert line_chart([Series("s", [], "--a")], [], title="t", x_label="x") == ""
