"""Conjugate gradient, L-BFGS, line search and genetic search: known minima, PyTorch, the conditions of the papers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import Parameter, nn, optim

pytestmark = pytest.mark.quick


def rosenbrock(p):
    def closure():
        p.grad = None
        x, y = p[0], p[1]
        loss = (1.0 - x).square() + 100.0 * (y - x.square()).square()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("kind", ["LBFGS", "ConjugateGradient"])
def test_rosenbrock(kind):
    p = Parameter(np.array([-1.2, 1.0]))
    opt = getattr(optim, kind)([p], max_iter=60, tolerance_change=0.0)
    first = opt.step(rosenbrock(p))
    assert first == pytest.approx(24.2)
    opt.step(rosenbrock(p))
    np.testing.assert_allclose(p.data, [1.0, 1.0], rtol=1e-7)
    assert opt.iterations < 60


@pytest.mark.parametrize("kind", ["LBFGS", "ConjugateGradient"])
def test_least_squares(kind):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 12)), rng.standard_normal(40)
    want = np.linalg.lstsq(a, b, rcond=None)[0]
    p, q = Parameter(np.zeros((4, 2))), Parameter(np.zeros(4))  # one vector of 12 in two parameters
    ta, tb = rb.Tensor(a), rb.Tensor(b)

    def closure():
        p.grad = q.grad = None
        x = rb.ops.concat([p.reshape(8), q])
        loss = (rb.ops.matmul(ta, x) - tb).square().sum()
        loss.backward()
        return loss

    opt = getattr(optim, kind)([p, q], max_iter=40, tolerance_change=0.0)
    for _ in range(3):
        opt.step(closure)
    np.testing.assert_allclose(np.concatenate([p.data.ravel(), q.data]), want, rtol=1e-6, atol=1e-8)


def test_conjugate_gradient_ends_on_a_quadratic():
    """With exact arithmetic n steps suffice on n variables; with this line search not many more."""
    n = 8
    h = np.diag(np.arange(1.0, n + 1))
    p = Parameter(np.ones(n))

    def closure():
        p.grad = None
        loss = 0.5 * (p * rb.ops.matmul(rb.Tensor(h), p)).sum()
        loss.backward()
        return loss

    opt = optim.ConjugateGradient([p], max_iter=3 * n, tolerance_change=0.0)
    opt.step(closure)
    assert abs(p.data).max() < 1e-6


def test_lbfgs_without_line_search_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 5)), rng.standard_normal(20)
    t = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    p = Parameter(np.zeros(5))

    def theirs():
        t.grad = None
        loss = ((torch.tensor(a) @ t - torch.tensor(b)) ** 2).mean()
        loss.backward()
        return loss

    def ours():
        p.grad = None
        loss = (rb.ops.matmul(rb.Tensor(a), p) - rb.Tensor(b)).square().mean()
        loss.backward()
        return loss

    x = torch.optim.LBFGS([t], lr=0.5, max_iter=3, history_size=2)
    y = optim.LBFGS([p], lr=0.5, max_iter=3, history_size=2, line_search_fn=None)
    for _ in range(5):
        assert y.step(ours) == pytest.approx(x.step(theirs).item(), rel=1e-9)
        np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-8)


def test_line_search_survives_infinities():
    """log x - a barrier: trial points beyond it give NaN, and the search must come back."""
    p = Parameter(np.array([0.01]))

    def closure():
        p.grad = None
        loss = (p * 1.0 - p.log()).sum() if p.data[0] > 0 else (p * np.nan).sum()
        loss.backward()
        return loss

    for opt in (optim.LBFGS([p], lr=1e4, max_eval=500), optim.ConjugateGradient([p], lr=1e4)):
        p.data[...] = 0.01
        opt.step(closure)
        assert p.item() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wolfe_conditions_hold():
    from rosenblatt.optim.linesearch import Point, strong_wolfe

    functions = [
        (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
        (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
        (lambda t: (t + 0.1) ** 5 - 2 * (t + 0.1) ** 4, lambda t: 5 * (t + 0.1) ** 4 - 8 * (t + 0.1) ** 3),
        (lambda t: np.cosh(t) - 5 * t, lambda t: np.sinh(t) - 5),
    ]
    for f, df in functions:
        for c2 in (0.9, 0.1):
            for first in (1e-3, 0.1, 1.0, 10.0, 1000.0):
                start = Point(0.0, f(0.0), np.zeros(1), df(0.0))
                found, used = strong_wolfe(
                    lambda t, f=f, df=df: Point(t, f(t), np.zeros(1), df(t)), start, first, c2=c2, max_evaluations=60
                )
                assert found.f <= start.f + 1e-4 * found.t * start.slope and used <= 60
                assert abs(found.slope) <= c2 * abs(start.slope), (first, c2, found)


def test_line_search_does_not_fall_for_minus_infinity():
    from rosenblatt.optim.linesearch import Point, strong_wolfe

    def at(t):
        return Point(t, (t - 1) ** 2 if t < 2 else -np.inf, np.zeros(1), 2 * (t - 1) if t < 2 else np.nan)

    found, _ = strong_wolfe(at, at(0.0), 5.0)
    assert found.t < 2 and abs(found.slope) <= 1.8


def test_genetic_search():
    """Minimises without gradients, keeps the best, repeats with its seed and leaves the global stream alone."""
    runs = []
    for seed in (1, 1, 2):
        rb.manual_seed(5)
        p = Parameter(np.array([3.0, -3.0, 2.0]))
        opt = optim.GeneticSearch([p], population=40, scale=0.3, seed=seed)
        losses = [opt.step(lambda p=p: (p - rb.Tensor(np.array([1.0, 2.0, -1.0]))).square().sum()) for _ in range(60)]
        assert all(b <= a for a, b in itertools.pairwise(losses))
        assert losses[-1] < 0.05 < losses[0]
        assert ((p.data - [1, 2, -1]) ** 2).sum() == pytest.approx(losses[-1])
        assert rb.ops.random.stream.counter == 0
        runs.append(p.data.copy())
    assert ref.same_bits(runs[0], runs[1]) and not ref.same_bits(runs[0], runs[2])


def test_genetic_search_shuns_nan():
    p = Parameter(np.array([0.0]))
    opt = optim.GeneticSearch([p], population=8, seed=3)
    loss = opt.step(lambda: (p - 1.0).square().sum() if p.data[0] > 0 else (p * np.nan).sum())
    assert loss < 1.0 and p.item() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.Adagrad(p, eps=-1), "Adagrad: eps"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "Adagrad: lr_decay"),
        (lambda p: optim.RMSprop(p, alpha=1.5), "RMSprop: alpha"),
        (lambda p: optim.Adadelta(p, rho=-0.5), "Adadelta: rho"),
        (lambda p: optim.DeltaBarDelta(p, lr=0.0), "DeltaBarDelta: lr must be positive"),
        (lambda p: optim.DeltaBarDelta(p, phi=1.0), "DeltaBarDelta: phi"),
        (lambda p: optim.Nesterov(p, momentum=-1), "Nesterov: momentum"),
        (lambda p: optim.LBFGS(p, history_size=0), "LBFGS: history_size"),
        (lambda p: optim.LBFGS(p, line_search_fn="armijo"), "LBFGS: line_search_fn"),
        (lambda p: optim.LBFGS([{"params": p}, {"params": [Parameter([1.0])]}]), "expected one parameter group, got 2"),
        (lambda p: optim.LBFGS([*p, Parameter(np.ones(1))]), "one dtype, got float32 and float64"),
        (lambda p: optim.ConjugateGradient(p, max_iter=0), "ConjugateGradient: max_iter"),
        (lambda p: optim.GeneticSearch(p, population=2, elite=2), "elite must be below population"),
        (lambda p: optim.GeneticSearch(p, mutation=1.5), "GeneticSearch: mutation"),
    ],
)
def test_more_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make([Parameter([1.0])])


def test_whole_vector_needs_a_closure():
    for kind in (optim.LBFGS, optim.ConjugateGradient, optim.GeneticSearch):
        with pytest.raises(TypeError, match=f"{kind.__name__}: step needs a closure"):
            kind([Parameter([1.0])]).step()
    with pytest.raises(TypeError, match="LBFGS: the closure must return the loss, got None"):
        optim.LBFGS([Parameter([1.0])]).step(lambda: None)


def test_line_searches_see_the_penalty():
    """Ridge regression by L-BFGS and conjugate gradient: the loss they compare must be the one they differentiate."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 4))
    y = x @ np.array([[1.0], [2], [3], [4]]) + 0.1
    wanted = np.linalg.solve(x.T @ x / 50 + 5.0 * np.eye(4), x.T @ y / 50).T
    for make in (optim.LBFGS, optim.ConjugateGradient):
        model = nn.Linear(4, 1, bias=False).astype(np.float64)
        history = model.fit(
            x, y, epochs=3, batch_size=50, optimizer=make(model.parameters(), max_iter=30), penalty=nn.L2(5.0),
            progress=False, seed=0,
        )
        assert np.allclose(model.weight.data, wanted, atol=1e-7)
        assert np.isclose(history.last("loss"), ((x @ wanted.T - y) ** 2).mean())  # logged without the penalty
