"""The report stands alone, escapes what it is given, and shows the numbers it was given."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import viz
from rosenblatt.io.extras import MissingExtraError
from rosenblatt.viz import Run, confusion_matrix, write_report
from rosenblatt.viz.figures import Series, image_uri, limits, line_chart, signed_uri

pytest.importorskip("matplotlib")
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
    VOID = ("meta", "img", "br", "path", "use")

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


def test_same_run_same_bytes_and_the_callers_matplotlib_is_left_alone(tmp_path):
    import matplotlib

    first = written(tmp_path, example())
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert written(tmp_path, example()) == first
        assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.get_backend().lower() == "agg"


def test_charts_take_their_colours_from_the_page(tmp_path):
    text = written(tmp_path, example(history={"loss": [3, 2, 1], "val_loss": [3, 2, 2], "test_loss": [3, 2, 3]}))
    chart = text[text.index("<svg") : text.index("</svg>")]
    assert not re.search(r"#[0-9a-fA-F]{6}", chart)
    for variable in ("--a", "--b", "--c", "--dim", "--rule"):
        assert f"var({variable})" in chart and f"{variable}:" in text


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r'matplotlib.*pip install "rosenblatt\[demo\]"'):
        write_report(tmp_path / "r.html", example())
    assert not list(tmp_path.iterdir())


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


def decode(uri: str) -> np.ndarray:
    """The pixels [H,W,4] of a `data:` address, in [0, 1]."""
    from matplotlib.image import imread

    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    return imread(io.BytesIO(base64.b64decode(text)), format="png")


def test_images_come_back_from_their_addresses():
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 3)) / 255
    assert np.allclose(decode(image_uri(x))[..., :3], x, atol=1 / 255)
    grey = decode(image_uri(np.array([[[-1.0], [np.nan]], [[0.5], [7.0]]])))  # [2,2,1]
    assert np.allclose(grey[..., 0], [[0, 0], [0.5, 1]], atol=2 / 255) and (grey[..., 0] == grey[..., 2]).all()
    assert image_uri(x) == image_uri(x.copy())


def test_signed_colours():
    blue, zero, red = decode(signed_uri(np.array([[-2.0, 0.0, 1.0]]), 2.0))[0]
    assert blue[2] > blue[0] and red[0] > red[2] and (zero[:3] > 0.95).all()
    assert np.array_equal(decode(signed_uri(np.array([[0.0, np.nan]]), 0.0))[0, 1], zero)


def test_limits_leave_a_rare_spike_outside():
    assert limits([0.0, 1.0]) == (0.0, 1.04)
    assert limits([1.0] * 99 + [1000.0])[1] < 4
    assert limits([0.5, 0.9], percent=True)[1] <= 1.02 and limits([0.9, 1.0], percent=True)[1] <= 1.01
    low, high = limits([2.0])
    assert low < 2 < high
    low, high = limits([-3.0, 250.0])
    assert low < -3 and high > 250


def test_chart_of_one_point_and_of_nothing():
    chart = line_chart([Series("s", [1.0], "--a")], [1], title="t", x_label="x")
    assert chart.count("<svg") == 1 and "xmlns" not in chart and Tags(chart).open == []
    assert line_chart([Series("s", [], "--a")], [], title="t", x_label="x") == ""


# --- plots


def lines(axes) -> dict:
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def test_training_curves_show_what_there_is():
    history = {"epoch": [3, 4], "loss": [2.0, 1.0], "val_loss": [2.5, 2.0], "accuracy": [0.1, 0.5], "lr": [1, 1]}
    left, right = viz.training_curves(history).axes
    assert {k: list(v) for k, v in lines(left).items()} == {"training": [2, 1], "validation": [2.5, 2]}
    assert list(lines(right)) == ["training"] and list(left.get_lines()[0].get_xdata()) == [3, 4]


def test_activation_curves_have_the_derivative_of_autograd():
    figure = viz.activation_curves({"tanh": rb.ops.tanh, "$relu": rb.ops.relu, "a": rb.ops.sigmoid, "b": rb.ops.exp})
    assert len(figure.axes) == 4
    x = np.linspace(-4, 4, 401)
    got = lines(figure.axes[0])
    assert np.allclose(got["value"], np.tanh(x)) and np.allclose(got["derivative"], 1 - np.tanh(x) ** 2)


def test_error_surface_capacity_grid_and_activities(tmp_path):
    figures = [
        viz.error_surface(lambda a, b: a * a + 3 * b * b, (-2, 2), (-1, 1), path=[[1, 1], [0.5, 0.2], [0, 0]]),
        viz.capacity_curve([1, 2, 4], [3, 2, 1], [3.5, 2.5, 4]),
        viz.image_grid({"original": np.random.default_rng(0).random((5, 8, 8, 1)), "noisy $": np.zeros((5, 8, 8))}),
        viz.hidden_activities(np.random.default_rng(0).normal(size=(30, 12)), np.arange(30) % 3),
    ]
    for i, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{i}.svg")
        assert (tmp_path / f"{i}.svg").stat().st_size > 1000
    assert lines(figures[0].axes[0])["_child1"].tolist() == [1, 0.2, 0]
    assert list(figures[1].axes[0].get_lines()[2].get_xdata()) == [2, 2]
    assert len(figures[2].axes) == 10
    assert len(figures[3].axes[0].get_lines()) == 2  # between three classes


def test_plots_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="expected one of loss"):
        viz.training_curves({"lr": [1]})
    with pytest.raises(ValueError, match=r"epoch \[2\]"):
        viz.training_curves({"epoch": [1], "loss": [1, 2]})
    with pytest.raises(ValueError, match="sum"):
        viz.activation_curves({"sum": lambda t: t.sum()})
    with pytest.raises(ValueError, match=r"\[T,2\]"):
        viz.error_surface(lambda a, b: a, (0, 1), (0, 1), path=[1, 2])
    with pytest.raises(ValueError, match=r"validation values \[2\]"):
        viz.capacity_curve([1, 2], [1, 2], [1])
    with pytest.raises(ValueError, match="equally many"):
        viz.image_grid({"a": np.zeros((2, 3, 3)), "b": np.zeros((3, 3, 3))})
    with pytest.raises(ValueError, match="two"):
        viz.image_grid({"two": np.zeros((2, 3, 3, 2))})
    with pytest.raises(ValueError, match=r"\[N,U\]"):
        viz.hidden_activities(np.zeros(3))
