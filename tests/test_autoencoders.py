"""Autoencoders: their layers and penalties against NumPy and numeric integrals, and small runs that must learn."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, data, models, nn, optim
from rosenblatt.train import LearningRateSchedule

F32 = np.float32


def values(model, *args):
    return np.asarray(model(*(Tensor(a) for a in args)).data)


def learn(model, x, y=None, *, epochs, lr=5e-3, batch=32, **options):
    """The training of `rosenblatt train`: Adam, cosine, the penalties of the model."""
    options = {"penalty": nn.ActivityPenalty(), "seed": 0, **options}
    return model.fit(
        x, x if y is None else y, epochs=epochs, batch_size=batch, progress=False,
        optimizer=optim.Adam(model.parameters(), lr), callbacks=[LearningRateSchedule.cosine()], **options,
    )


def error(model, x, target=None):
    return float(((model.predict(x).astype(np.float64) - (x if target is None else target)) ** 2).mean())


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    train, test = data.digits(split=True)
    return train.x, train.y, test.x, test.y


def pca(x, count):
    flat = x.reshape(len(x), -1).astype(np.float64)
    return flat.mean(0), np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:count]


def pca_error(x, test, count):
    mean, axes = pca(x, count)
    centred = test.reshape(len(test), -1) - mean
    return float(((centred - centred @ axes.T @ axes) ** 2).mean())


# --- construction


@pytest.mark.quick
@pytest.mark.parametrize(
    ("model", "encoder", "decoder"),
    [
        (lambda: models.autoencoder(input_shape=(784,), code=32), 25_120, 25_872),  # notes B:3.2
        (lambda: models.autoencoder(input_shape=(28, 28), code=64), 50_240, 50_960),  # notes A:M20
        (lambda: models.compression_autoencoder(input_shape=(28, 28, 1)), 236_102, 236_884),  # notes B:A13
        (lambda: models.linear_autoencoder(bias=False), 512, 512),
        (lambda: models.vae(), 64 * 128 + 128 + 129 * 32, 17 * 128 + 129 * 64),
    ],
)
def test_parameters_of_both_halves(model, encoder, decoder):
    built = model()
    assert built.encoder.num_parameters() == encoder and built.decoder.num_parameters() == decoder
    assert built.num_parameters() == encoder + decoder


@pytest.mark.quick
def test_known_totals():
    assert models.autoencoder(input_shape=(28, 28, 1)).num_parameters() == 50_992
    assert models.autoencoder(input_shape=(28, 28, 1), code=64).num_parameters() == 101_200
    assert models.compression_autoencoder(input_shape=(28, 28, 1)).num_parameters() == 472_986


@pytest.mark.quick
def test_the_halves_are_usable_alone_and_make_the_whole():
    model = models.autoencoder(input_shape=(4, 3, 2), hidden=(9,), code=5).eval()
    x = np.random.default_rng(0).random((6, 4, 3, 2)).astype(F32)
    w = [np.asarray(p.data, np.float64) for p in model.parameters()]
    h = np.maximum(np.maximum(x.reshape(6, 24) @ w[0].T + w[1], 0) @ w[2].T + w[3], 0)
    assert np.allclose(model.encoder.predict(x), h, atol=1e-5)
    out = 1 / (1 + np.exp(-(np.maximum(h @ w[4].T + w[5], 0) @ w[6].T + w[7])))
    assert np.allclose(model.decoder.predict(h.astype(F32)), out.reshape(x.shape), atol=1e-5)
    assert np.allclose(model.predict(x), out.reshape(x.shape), atol=1e-5)


@pytest.mark.quick
def test_compression_is_leaky_after_every_layer():
    model = models.compression_autoencoder(input_shape=(6,), hidden=(5,), slope=0.2).eval()
    x = np.random.default_rng(1).standard_normal((9, 6))
    h = x
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        h = h @ np.asarray(layer.weight.data, np.float64).T + layer.bias.data
        h = np.where(h > 0, h, 0.2 * h)
    assert np.allclose(model.predict(x.astype(F32)), h, atol=1e-5) and (h < 0).any()


@pytest.mark.quick
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.autoencoder(code=0), "autoencoder: code"),
        (lambda: models.autoencoder(hidden=(3, -1)), "autoencoder: a hidden size"),
        (lambda: models.autoencoder(output="relu"), "autoencoder: expected output"),
        (lambda: models.overcomplete_autoencoder(regulariser="l3"), "overcomplete_autoencoder"),
        (lambda: models.overcomplete_autoencoder(p=1.0), "Dropout"),
        (lambda: models.sparse_autoencoder(kind="few"), "sparse_autoencoder"),
        (lambda: models.sparse_autoencoder(rho=1.0), "ActivityKL"),
        (lambda: models.denoising_autoencoder(noise="pink"), "corruption"),
        (lambda: models.contractive_autoencoder(weight=-1.0), "Contractive"),
        (lambda: models.conv_autoencoder(input_shape=(10, 8, 1)), "conv_autoencoder.*divisible by 4"),
        (lambda: models.conv_autoencoder(input_shape=(64,)), "conv_autoencoder"),
        (lambda: models.vae(latent=0), "vae: code"),
        (lambda: models.rating_autoencoder(0), "rating_autoencoder"),
    ],
)
def test_constructors_refuse(build, message):
    with pytest.raises(ValueError, match=message):
        build()
    with pytest.raises(TypeError, match="encoder: expected a Module"):
        models.Autoencoder(None, nn.Identity())


# --- layers


@pytest.mark.quick
def test_k_sparse_keeps_exactly_k():
    x = np.random.default_rng(0).standard_normal((40, 11)).astype(F32)
    x[:5] = 1.0  # all equal: the first ones stay
    x[5:10, ::2] = 3.0
    for k in (1, 4, 11):
        layer = nn.KSparse(k)
        order = np.argsort(-x, axis=1, kind="stable")[:, :k]
        kept = np.zeros_like(x)
        np.put_along_axis(kept, order, 1, 1)
        for mode in (layer.train(), layer.eval()):
            assert np.array_equal(values(mode, x), x * kept)
        t = Tensor(x, requires_grad=True)
        layer(t).sum().backward()
        assert np.array_equal(t.grad.data, kept)
    with pytest.raises(ValueError, match=r"KSparse.*at least 12"):
        nn.KSparse(12)(Tensor(x))


def gaussian_kl(m, s):
    """KL(N(m, e^s) || N(0, 1)) by the trapezium rule on a fine grid."""
    z = np.linspace(-30, 30, 60_001)
    log_q = -0.5 * ((z - m) ** 2 / math.exp(s) + s + math.log(2 * math.pi))
    log_p = -0.5 * (z**2 + math.log(2 * math.pi))
    return float(np.sum(np.exp(log_q) * (log_q - log_p)) * (z[1] - z[0]))


@pytest.mark.quick
def test_gaussian_code_divergence_sample_and_mean():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((3, 2)), rng.uniform(-1.5, 1, (3, 2))], 1)
    layer = nn.GaussianCode(weight=0.5)
    out = layer(Tensor(x))
    wanted = sum(gaussian_kl(x[n, j], x[n, 2 + j]) for n in range(3) for j in range(2)) / 3
    assert np.isclose(float(layer.term.data), 0.5 * wanted, rtol=1e-7) and out.shape == (3, 2)
    assert np.isclose(float(nn.ActivityPenalty()(layer).data), 0.5 * wanted, rtol=1e-7)
    assert np.array_equal(values(layer.eval(), x), x[:, :2]) and layer.term is None
    many = np.tile(np.array([[2.0, -1.0, math.log(0.25), math.log(4.0)]]), (40_000, 1))
    drawn = values(layer.train(), many)
    assert np.allclose(drawn.mean(0), [2, -1], atol=0.04) and np.allclose(drawn.std(0), [0.5, 2.0], rtol=0.02)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.02
    rb.manual_seed(3)  # the reparametrised sample's slopes: 1 for the mean, (z - m) / 2 for the log-variance
    t = Tensor(x, requires_grad=True)
    z = layer(t)
    z.sum().backward()
    assert np.allclose(t.grad.data[:, :2], 1) and np.allclose(t.grad.data[:, 2:], (z.data - x[:, :2]) / 2)
    with pytest.raises(ValueError, match=r"GaussianCode: expected \[N,2d\]"):
        layer(Tensor(x[:, :3]))


@pytest.mark.quick
def test_drop_connect_drops_weights_and_drop_all_outputs_too():
    x = np.ones((1, 400), F32)
    layer = nn.DropConnect(400, 300, 0.3)
    layer.weight.data[...], layer.bias.data[...] = 1.0, 7.0
    sums = (values(layer, x)[0] - 7.0) * 0.7  # of the weights that stayed, one mask for the batch
    assert np.allclose(sums, np.round(sums), atol=1e-3) and abs(sums.mean() - 280) < 3
    assert abs(sums.std() - math.sqrt(400 * 0.3 * 0.7)) < 1.2  # binomial: every weight by itself
    assert np.array_equal(values(layer, np.repeat(x, 2, 0))[0].shape, (300,))
    both = nn.DropConnect(400, 300, 0.3, 0.5)
    both.load_state_dict(layer.state_dict())
    out = values(both, x)[0]
    assert 0.4 < (out == 0).mean() < 0.6 and np.isclose(out[out != 0].mean(), 2 * 407, rtol=0.01)
    for each in (layer.eval(), both.eval()):
        assert np.allclose(values(each, x), 407.0)
    with pytest.raises(ValueError, match="DropConnect"):
        nn.DropConnect(2, 2, 1.0)


@pytest.mark.quick
def test_batch_standardize():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (50, 4)).astype(F32)
    layer = nn.BatchStandardize(4)
    layer.gamma.data[...], layer.beta.data[...] = [1, 2, 3, 4], [0, 1, 0, -1]

    def by_hand(v, mean, var):
        return (v - mean) / np.sqrt(var + 1e-5) * [1, 2, 3, 4] + [0, 1, 0, -1]

    assert np.allclose(values(layer, x), by_hand(x, x.mean(0), x.var(0)), atol=1e-4)
    rb.gradcheck(layer, [Tensor(x[:5].astype(np.float64), requires_grad=True)])
    model = nn.Sequential(nn.Linear(4, 4), layer)
    with pytest.raises(ValueError, match=r"call models\.settle"):
        model.predict(x, capture=False)
    models.settle(model, x)
    assert model.training and layer.training and not layer.settling
    h = values(model[0], x)
    other = rng.normal(0, 1, (7, 4)).astype(F32)
    assert np.allclose(model.predict(other), by_hand(values(model[0], other), h.mean(0), h.var(0)), atol=1e-4)
    assert {p.requires_grad for p in (layer.mean, layer.variance)} == {False}


@pytest.mark.quick
def test_block_masking():
    x = np.random.default_rng(0).uniform(0.5, 1, (4000, 6, 5, 2)).astype(F32)
    layer = nn.BlockMasking(3)
    out = values(layer, x)
    gone = (out == 0).all(3)
    assert np.array_equal((out == 0).any(3), gone) and (gone.sum((1, 2)) == 9).all()
    assert np.array_equal(out[~gone], x[~gone])
    top, left = gone.any(2).argmax(1), gone.any(1).argmax(1)
    counts = np.bincount(top * 3 + left, minlength=12)  # 4 rows and 3 columns of places
    assert len(counts) == 12 and ((counts - 4000 / 12) ** 2 / (4000 / 12)).sum() < 31.3  # chi-squared, 11: 0.1 %
    for image, t, s in zip(gone[:50], top, left, strict=False):
        assert image[t : t + 3, s : s + 3].all()
    assert values(layer.eval(), x) is not out and np.array_equal(values(layer, x), x)
    with pytest.raises(ValueError, match="BlockMasking"):
        nn.BlockMasking(6)(Tensor(x))


@pytest.mark.quick
def test_kinds_of_corruption():
    x = np.full((2000, 10), 0.5, F32)
    noisy = {k: values(models.corruption(k, 0.2), x) for k in ("gaussian", "masking", "salt_pepper")}
    assert abs((noisy["gaussian"] - x).std() - 0.2) < 0.005
    assert set(np.unique(noisy["masking"])) == {0.0, 0.5} and abs((noisy["masking"] == 0).mean() - 0.2) < 0.01
    assert set(np.unique(noisy["salt_pepper"])) == {0.0, 0.5, 1.0}
    model = models.denoising_autoencoder(input_shape=(10,), code=4, noise="masking", level=1.0)
    assert np.array_equal(values(model, x), np.repeat(values(model, 0 * x)[:1], len(x), 0))  # all of it hidden
    free = models.Autoencoder(model.encoder, model.decoder)
    assert np.array_equal(model.predict(x), free.predict(x))  # nothing corrupted in evaluation


# --- penalties


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_contractive_term_is_the_jacobian(hidden):
    rng = np.random.default_rng(0)
    model = models.contractive_autoencoder(input_shape=(3, 2), hidden=hidden, code=4, weight=0.7).astype(np.float64)
    x = rng.standard_normal((5, 3, 2))
    total, step = 0.0, 1e-6
    for n in range(5):
        for i in range(6):
            e = np.zeros((1, 3, 2))
            e.flat[i] = step
            slope = values(model.encoder, x[n : n + 1] + e) - values(model.encoder, x[n : n + 1] - e)
            total += float(((slope / (2 * step)) ** 2).sum())
    model(Tensor(x))
    term = nn.ActivityPenalty()(model)
    assert np.isclose(float(term.data), 0.7 * total / 5, rtol=1e-6)
    term.backward()
    assert np.abs(next(iter(model.encoder.parameters())).grad.data).max() > 0
    model.eval()(Tensor(x))
    assert model.term is None
    again = copy.deepcopy(model)  # a kept term does not come along
    assert again.term is None and again.contraction is not None


# --- the variational bound


def test_bounds_lie_below_the_exact_likelihood_and_close_in_on_it():
    rb.manual_seed(1)
    model = models.vae(input_shape=(5,), hidden=(6,), latent=1)
    for p in model.decoder.parameters():
        p.data[...] *= 3
    x = (np.random.default_rng(0).random((8, 5)) < 0.5).astype(F32)
    z = np.linspace(-9, 9, 20_001)
    p = np.asarray(model.decoder.predict(z[:, None].astype(F32)), np.float64)  # [20001,5]
    like = np.exp(x @ np.log(p).T + (1 - x) @ np.log(1 - p).T)
    exact = np.log((like * np.exp(-0.5 * z**2)).sum(1) * (z[1] - z[0]) / math.sqrt(2 * math.pi))
    draws = np.array([model.bound(x, seed=s) for s in range(200)])
    tight = model.bound(x, 4000, seed=1)
    mean, std = model.posterior(x)
    kl = [gaussian_kl(m, 2 * math.log(s)) for m, s in zip(mean[:, 0], std[:, 0], strict=True)]
    # E_q log p(x|z) on the grid, less the divergence, is the ELBO
    q = np.exp(-0.5 * ((z - mean) / std) ** 2) / std
    inner = (q * np.log(like)).sum(1) / q.sum(1)
    elbo = inner - kl
    assert (np.abs(draws.mean(0) - elbo) < 4 * draws.std(0) / math.sqrt(200)).all()
    assert (elbo < exact).all() and (np.abs(tight - exact) < 0.25 * (exact - elbo)).all()
    assert np.allclose(mean, model.encoder.predict(x))
    assert model.sample(3, seed=4).shape == (3, 5) and np.array_equal(model.sample(3, seed=4), model.sample(3, seed=4))
    walk = model.traverse(mean[0], 0, [-1.0, 1.0])
    assert np.allclose(walk, model.decoder.predict(np.array([[-1.0], [1.0]], F32)))
    with pytest.raises(ValueError, match="unit must be in"):
        model.traverse(mean[0], 1, [0.0])
    with pytest.raises(TypeError, match="GaussianCode"):
        models.VAE(nn.Sequential(nn.Linear(5, 2)), nn.Sequential(nn.Linear(2, 5)), 2)


def test_training_lowers_the_negative_bound():
    """loss + penalty of a batch in training mode is -ELBO / D with that batch's samples."""
    rb.manual_seed(0)
    model = models.vae(input_shape=(6,), hidden=(5,), latent=2)
    x = (np.random.default_rng(0).random((2000, 6)) < 0.4).astype(F32)
    total = float(nn.BCELoss()(model(Tensor(x)), x).data) + float(nn.ActivityPenalty()(model).data)
    assert np.isclose(total * 6, -model.bound(x, seed=5).mean(), rtol=5e-3)


# --- greedy layers


def test_greedy_pre_training_trains_one_layer_after_the_other():
    x = np.random.default_rng(0).random((60, 10)).astype(F32)

    def stack(hidden):
        rb.manual_seed(5)
        return models.stacked_autoencoder(input_shape=(10,), hidden=hidden, code=4, activation="sigmoid")

    deep, start = stack((8, 6)), stack((8, 6))
    histories = models.pretrain(deep, x, epochs=30, seed=1)
    assert len(histories) == 3 and all(h.last("loss") < h.history["loss"][0] for h in histories)
    # the first pair is what a shallow autoencoder with these weights becomes, and later pairs leave it alone
    shallow = models.Autoencoder(nn.Sequential(start.encoder[1]), nn.Sequential(start.decoder[2]))
    learn(shallow, x, epochs=30, lr=2e-3, seed=1)
    assert np.array_equal(deep.encoder[1].weight.data, shallow.encoder[0].weight.data)
    assert np.array_equal(deep.decoder[2].bias.data, shallow.decoder[0].bias.data)
    # the second pair sees what the first one gives
    h = shallow.encoder[0].predict(x)
    inner = models.Autoencoder(nn.Sequential(deep.encoder[2]), nn.Sequential(deep.decoder[1])).eval()
    assert np.isclose(error(inner, h), histories[1].last("loss"), rtol=0.05)
    with pytest.raises(ValueError, match="pretrain: expected Linear layers"):
        models.pretrain(models.Autoencoder(nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 3))), x)


# --- uses


@pytest.mark.quick
def test_scores_imputation_and_search():
    rng = np.random.default_rng(0)
    x = rng.random((20, 4, 2)).astype(F32)
    model = models.autoencoder(input_shape=(4, 2), code=3)
    assert np.allclose(models.anomaly_scores(model, x), ((model.predict(x) - x) ** 2).mean((1, 2)), atol=1e-7)
    known = rng.random((20, 4, 2)) < 0.6
    holes = np.where(known, x, np.nan).astype(F32)
    once = models.impute(model, holes, known, start=0.5, rounds=1)
    assert np.array_equal(once[known], x[known])
    assert np.array_equal(once[~known], model.predict(np.where(known, x, 0.5).astype(F32))[~known])
    twice = models.impute(model, holes, known, start=0.5, rounds=2)
    assert np.array_equal(twice[~known], model.predict(once)[~known])
    with pytest.raises(ValueError, match="finite values where known"):
        models.impute(model, holes, True)
    with pytest.raises(ValueError, match="gives back"):
        models.anomaly_scores(model.encoder, x)
    codes, queries = rng.standard_normal((30, 5)), rng.standard_normal((7, 5))
    distances, places = models.nearest(codes, queries, 4)
    full = np.sqrt(((queries[:, None] - codes) ** 2).sum(2))
    assert np.array_equal(places, np.argsort(full, 1, kind="stable")[:, :4])
    assert np.allclose(distances, np.sort(full, 1)[:, :4])
    with pytest.raises(ValueError, match="k must be at most 30"):
        models.nearest(codes, queries, 31)
    with pytest.raises(ValueError, match="nearest: expected codes"):
        models.nearest(codes, queries[:, :3])


def test_imputation_of_whole_numbers_and_search_far_from_the_origin():
    rng = np.random.default_rng(1)
    model = models.autoencoder(input_shape=(4, 2), code=3)
    x = rng.integers(0, 2, (6, 4, 2))
    filled = models.impute(model, x, np.zeros((4, 2), bool), rounds=1)
    assert filled.dtype == F32 and ((filled > 0) & (filled < 1)).any()  # not cut to whole numbers
    codes = 1e8 + rng.standard_normal((30, 5))
    distances, places = models.nearest(codes, codes[:4], k=3)
    wanted = np.sqrt(((codes[:4, None] - codes) ** 2).sum(2))
    assert np.array_equal(places, np.argsort(wanted, axis=1, kind="stable")[:, :3])
    assert np.allclose(distances, np.sort(wanted, axis=1)[:, :3], rtol=1e-12) and (distances[:, 0] == 0).all()


@pytest.mark.quick
def test_ratings_with_blanks():
    table = np.array([[1, 0, np.nan, 0.5], [np.nan, np.nan, 0.25, 1]])
    x, y = models.rating_inputs(table, 0.5), models.rating_targets(table)
    assert np.array_equal(x, [[0.5, -0.5, 0, 0], [0, 0, -0.25, 0.5]]) and x.dtype == F32
    assert np.array_equal(y, [[[1, 0, 0, 0.5], [1, 1, 0, 1]], [[0, 0, 0.25, 1], [0, 0, 1, 1]]])
    p = np.random.default_rng(0).random((2, 4)).astype(F32)
    t = Tensor(p, requires_grad=True)
    loss = models.MaskedMSELoss()(t, y)
    loss.backward()
    there = ~np.isnan(table)
    assert np.isclose(float(loss.data), np.nanmean((p - table) ** 2))
    assert np.allclose(t.grad.data, np.where(there, 2 * (p - np.nan_to_num(table)) / there.sum(), 0), atol=1e-6)
    with pytest.raises(ValueError, match=r"\[0, 1\], NaN where blank"):
        models.rating_inputs([[3.0, 1.0]])
    with pytest.raises(ValueError, match=r"targets \[N,2,M\]"):
        models.MaskedMSELoss()(Tensor(p), p)
    with pytest.raises(ValueError, match="reduction"):
        models.MaskedMSELoss("sum")


@pytest.mark.quick
def test_generated_ratings():
    r = data.generate.ratings(500, 30, blank=0.7, seed=3)
    known = ~np.isnan(r)
    assert r.shape == (500, 30) and r.dtype == F32 and set(np.unique(r[known])) == {0, 0.25, 0.5, 0.75, 1}
    assert abs(known.mean() - (0.3 + 0.7 / 30)) < 0.02 and known.any(0).all() and known.any(1).all()
    assert np.array_equal(r, data.generate.ratings(500, 30, blank=0.7, seed=3), equal_nan=True)
    full = data.generate.ratings(500, 30, blank=0.0, noise=0.0, tastes=2, seed=3).astype(np.float64)
    spectrum = np.linalg.svd(full - full.mean(0), compute_uv=False) ** 2
    assert spectrum[:2].sum() > 0.8 * spectrum.sum()  # two tastes make the users differ
    with pytest.raises(ValueError, match="blank"):
        data.generate.ratings(blank=1.5)


# --- learning


def test_a_linear_code_spans_the_principal_plane(digits):
    x, _, test, _ = digits
    rb.manual_seed(0)
    model = models.linear_autoencoder(code=4, bias=False)
    centred = x - x.mean(0)
    optimizer = optim.LBFGS(model.parameters(), max_iter=300)
    model.fit(centred, centred, epochs=2, batch_size=len(x), optimizer=optimizer, progress=False, seed=0)
    plane = np.linalg.qr(np.asarray(model.decoder[0].weight.data, np.float64))[0]
    cosines = np.linalg.svd(plane.T @ pca(x, 4)[1].T, compute_uv=False)
    assert np.degrees(np.arccos(min(cosines.min(), 1.0))) < 1.0
    assert np.isclose(error(model, test - x.mean(0)), pca_error(x, test, 4), rtol=1e-3)


def test_undercomplete_beats_principal_components_of_half_the_size(digits):
    x, _, test, _ = digits
    rb.manual_seed(0)
    model = models.autoencoder()
    learn(model, x, epochs=60)
    assert error(model, test) < pca_error(x, test, 16)


def test_denoising_beats_the_best_linear_filter(digits):
    x, _, test, _ = digits
    noisy = (test + np.random.default_rng(9).normal(0, 0.3, test.shape)).astype(F32)
    rb.manual_seed(0)
    model = models.denoising_autoencoder()
    learn(model, x, epochs=60, lr=2e-3)
    flat, mean = x.reshape(-1, 64), x.reshape(-1, 64).mean(0)
    cov = np.cov(flat.T)
    wiener = mean + (noisy.reshape(-1, 64) - mean) @ np.linalg.solve(cov + 0.09 * np.eye(64), cov)
    assert error(model, noisy, test) < ((wiener.reshape(test.shape) - test) ** 2).mean()
    assert error(model, noisy, test) < ((test - x.mean(0)) ** 2).mean()


@pytest.mark.parametrize("kind", ["kl", "l1", "k"])
def test_sparse_codes(digits, kind):
    x, _, test, _ = digits
    rb.manual_seed(0)
    model = models.sparse_autoencoder(kind=kind)
    learn(model, x, epochs=200 if kind == "kl" else 30, batch=128)
    code = model.encoder.predict(test)
    if kind == "kl":
        assert 0.045 <= code.mean(dtype=np.float64) <= 0.055
    elif kind == "l1":
        rb.manual_seed(0)
        free = models.sparse_autoencoder(kind=kind, weight=0.0)
        learn(free, x, epochs=30, batch=128)
        assert code.mean() < 0.5 * free.encoder.predict(test).mean()
    else:
        assert ((code != 0).sum(1) == 10).all()
    assert error(model, test) < ((test - x.mean(0)) ** 2).mean()


def test_block_is_filled_better_than_by_means(digits):
    x, _, test, _ = digits
    rb.manual_seed(0)
    model = models.conv_autoencoder()
    learn(model, x, epochs=25)
    known = np.ones(test.shape, bool)
    for image, (t, s) in zip(known, np.random.default_rng(0).integers(0, 6, (len(test), 2)), strict=True):
        image[t : t + 3, s : s + 3] = False
    filled = models.impute(model, np.where(known, test, 0), known, rounds=1)
    means = np.where(known, test, 0).sum((1, 2, 3)) / known.sum((1, 2, 3))
    by_mean = np.broadcast_to(means[:, None, None, None], test.shape)
    assert ((filled - test)[~known] ** 2).mean() < 0.5 * ((by_mean - test)[~known] ** 2).mean()


def test_recommender_beats_the_item_mean():
    ratings = data.generate.ratings(300, 30, seed=0)
    there = np.argwhere(~np.isnan(ratings))
    held = tuple(there[np.random.default_rng(1).permutation(len(there))[:300]].T)
    seen = ratings.copy()
    seen[held] = np.nan
    item = np.nanmean(seen, 0)
    rb.manual_seed(0)
    model = models.rating_autoencoder(30)
    x = models.rating_inputs(seen, item)
    learn(model, x, models.rating_targets(seen), epochs=100, lr=5e-3, loss=models.MaskedMSELoss())
    made = model.predict(x)[held]
    assert rb.metrics.rmse(ratings[held], made) < 0.8 * rb.metrics.rmse(ratings[held], item[held[1]])


# --- small parts


@pytest.mark.quick
def test_leaky_relu_and_unflatten():
    x = np.array([[-2.0, 0.0, 3.0, -0.5, 1.0, 2.0]], F32)
    assert np.allclose(values(nn.LeakyReLU(0.1), x), [[-0.2, 0, 3, -0.05, 1, 2]])
    assert np.array_equal(values(nn.Unflatten((3, 1, 2)), x), x.reshape(1, 3, 1, 2))
    with pytest.raises(ValueError, match=r"Unflatten: expected \[N,6\]"):
        nn.Unflatten((3, 2))(Tensor(x[:, :5]))
    for wrong in (lambda: nn.Unflatten(()), lambda: nn.Unflatten((0,)), lambda: nn.LeakyReLU(-1.0)):
        with pytest.raises(ValueError, match=r"Unflatten|LeakyReLU"):
            wrong()


@pytest.mark.quick
def test_latent_plane_shows_each_class_where_it_is():
    pytest.importorskip("matplotlib")
    z = np.random.default_rng(0).standard_normal((30, 2))
    y = np.arange(30) % 3
    axes = rb.viz.latent_plane(z, y, ("a", "b", "c")).axes[0]
    for k, shown in enumerate(axes.collections):
        assert np.allclose(shown.get_offsets(), z[y == k]) and shown.get_label() == "abc"[k]
    for points, labels in ((z[:, :1], y), (z, y[:5]), (z, y + 1)):
        with pytest.raises(ValueError, match="latent_plane"):
            rb.viz.latent_plane(points, labels, ("a", "b", "c"))


def test_sizes_are_not_cut_to_whole_numbers():
    with pytest.raises(ValueError, match="whole number of pixels"):
        models.corruption("block", 2.7)
    assert models.corruption("block", 3.0).size == 3
    with pytest.raises(ValueError, match="Unflatten: a size"):
        nn.Unflatten((2.5, 2))
    assert nn.Unflatten(np.array([2, 3])).shape == (2, 3)
