"""JAX's side of the training steps: one jitted function of donated parameters and optimiser state.

JAX draws its threads from the processors it may run on, so the process is bound to as many as it is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from .cases import Case, mlp_sizes, squared_error, train_arrays
from .worker import Makers, Variant, every

__all__ = ["BUILDERS", "TRAINERS", "start"]


def start(threads: int) -> dict[str, Any]:
    """Called before JAX has looked for devices, which is when it makes its threads."""
    os.environ["NPROC"] = str(threads)
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    jax.config.update("jax_platforms", "cpu")
    return {"version": jax.__version__, "threads": threads, "config": {"devices": str(jax.devices())}}


# --- optimisers, as in PyTorch: state is (step count, one list of arrays per moment)


def _begin(name: str, weights: list[Any]) -> Any:
    def zeros() -> list[Any]:
        return [jnp.zeros_like(w) for w in weights]

    return (zeros(),) if name == "sgd" else (jnp.zeros((), jnp.float32), zeros(), zeros())


def _sgd(weights: list[Any], grads: list[Any], state: Any) -> tuple[list[Any], Any]:
    momentum = [0.9 * m + g for m, g in zip(state[0], grads, strict=True)]
    return [w - 0.01 * m for w, m in zip(weights, momentum, strict=True)], (momentum,)


def _adam(weights: list[Any], grads: list[Any], state: Any) -> tuple[list[Any], Any]:
    t = state[0] + 1.0
    first = [0.9 * m + 0.1 * g for m, g in zip(state[1], grads, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(state[2], grads, strict=True)]
    size, root = 1e-3 / (1.0 - 0.9**t), lax.rsqrt(1.0 - 0.999**t)
    new = [
        w - size * m / (jnp.sqrt(v) * root + 1e-8) for w, m, v in zip(weights, first, second, strict=True)
    ]  # fmt: skip
    return new, (t, first, second)


_UPDATES = {"sgd": _sgd, "adam": _adam}


# --- networks: losses of the weights (in the order of `train_arrays`), x, the target and a key of random numbers


def _mlp(case: Case) -> Callable[..., Any]:
    dims = mlp_sizes(case.params["sizes"])
    activation: Any = jnp.tanh if dims[-1] == 1 else nn.relu

    def loss(weights: list[Any], x: Any, target: Any, key: Any) -> Any:
        for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = activation(x @ w.T + b)
        y = x @ weights[-2].T + weights[-1]
        return jnp.mean((y - target) ** 2) if squared_error(dims) else _cross_entropy(y, target)

    return loss


def _cross_entropy(logits: Any, labels: Any) -> Any:
    picked = jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return jnp.mean(nn.logsumexp(logits, 1) - picked)


def _vae(case: Case) -> Callable[..., Any]:
    def loss(weights: list[Any], x: Any, noise: Any, key: Any) -> Any:
        w = weights
        h = nn.relu(x @ w[0].T + w[1])
        mean, log_variance = h @ w[2].T + w[3], h @ w[4].T + w[5]
        if noise is None:
            noise = jax.random.normal(key, mean.shape)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        logits = nn.relu(z @ w[6].T + w[7]) @ w[8].T + w[9]
        divergence = jnp.sum(jnp.exp(log_variance) + mean**2 - log_variance - 1.0)
        return jnp.mean(nn.softplus(logits) - logits * x) + divergence * (0.5 / x.size)

    return loss


def _lenet5(case: Case) -> Callable[..., Any]:
    def conv(x: Any, w: Any, b: Any) -> Any:
        y = lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "OHWI", "NHWC")) + b
        return lax.reduce_window(nn.relu(y), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(weights: list[Any], x: Any, target: Any, key: Any) -> Any:
        w = weights
        x = conv(conv(x, w[0], w[1]), w[2], w[3])
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # the dense weights count channels first
        x = nn.relu(x @ w[4].T + w[5])
        x = nn.relu(x @ w[6].T + w[7])
        return _cross_entropy(x @ w[8].T + w[9], target)

    return loss


# --- the step


def _train(make: Callable[[Case], Callable[..., Any]], kinds: tuple[str, ...] = ("",)) -> Callable[[Case], Makers]:
    """kinds : random generators to try, where the step draws numbers (it then leaves the target out when timed)"""

    def build(case: Case) -> Makers:
        def maker(kind: str) -> Callable[[], Variant]:
            return lambda: _step(case, make(case), kind)

        return {f"jit {kind}".rstrip(): maker(kind) for kind in kinds}

    return build


def _step(case: Case, loss: Callable[..., Any], kind: str) -> Variant:
    arrays, batches = train_arrays(case)
    update = _UPDATES[case.params["optimizer"]]

    def step(weights: Any, state: Any, key: Any, x: Any, target: Any) -> Any:
        if kind:
            key, mine = jax.random.split(key)
        else:
            mine = key
        value, grads = jax.value_and_grad(loss)(weights, x, target, mine)
        return value, *update(weights, grads, state), key

    compiled = jax.jit(step, donate_argnums=(0, 1))
    weights: Any = [jnp.array(w) for w in arrays]
    state = _begin(case.params["optimizer"], weights)
    key = jax.random.key(0, impl=kind) if kind else None
    given = [(jnp.array(x), jnp.array(t if t.dtype == np.float32 else t.astype(np.int32))) for x, t in batches]
    timed = [(x, None) for x, _ in given] if kind else given
    count, value = 0, jnp.zeros(())

    def run(data: Any = timed) -> Any:
        nonlocal weights, state, key, count, value
        x, target = data[count % len(data)]
        count += 1
        value, weights, state, key = compiled(weights, state, key, x, target)
        return value

    def check() -> list[float]:
        losses = [float(run(given)) for _ in range(5)]
        return losses + [float(np.mean([float(run()) for _ in range(5)]))] * bool(kind)

    return Variant(run, check, finish=lambda: jax.block_until_ready((value, weights)))


TRAINERS: dict[str, Callable[[Case], Makers]] = {
    "train_mlp": _train(_mlp),
    "train_vae": _train(_vae, ("threefry2x32", "rbg")),
    "train_lenet5": _train(_lenet5),
}
BUILDERS = {kind: every(trainer) for kind, trainer in TRAINERS.items()}
