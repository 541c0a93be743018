"""Record what rlax computes, for the tests of rlx/losses to compare with.

rlax needs jax, which does not belong into rlx's own environment, so the arrays are recorded once:

    python3 -m venv /tmp/rlax-venv
    /tmp/rlax-venv/bin/pip install rlax==0.1.9 jax==0.10.2 jaxlib==0.10.2
    /tmp/rlax-venv/bin/python tests/golden/make_rlax_golden.py

It writes rlax.npz and, beside it, rlax.json with the versions used. Inputs are float32 from a fixed seed and
are stored with the outputs, so a test reads everything from the file.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import rlax

BATCH, ACTIONS, ATOMS, STEPS = 32, 6, 51, 24
HERE = Path(__file__).parent


def float32(x):
    """Convert to float32."""
    return np.asarray(x, dtype=np.float32)


def transitions(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw a batch of transitions; a fifth of them are terminal."""
    return {
        "q_tm1": float32(rng.normal(0, 3, (BATCH, ACTIONS))),
        "a_tm1": rng.integers(0, ACTIONS, BATCH).astype(np.int32),
        "r_t": float32(rng.normal(0, 1, BATCH)),
        "discount_t": float32(0.99**3 * (rng.random(BATCH) > 0.2)),
        "q_t": float32(rng.normal(0, 3, (BATCH, ACTIONS))),
        "q_selector_t": float32(rng.normal(0, 3, (BATCH, ACTIONS))),
    }


def q_learning(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Record TD errors of Q-learning and double Q-learning."""
    x = transitions(rng)
    args = (x["q_tm1"], x["a_tm1"], x["r_t"], x["discount_t"], x["q_t"])
    x["q_learning"] = float32(jax.vmap(rlax.q_learning)(*args))
    x["double_q_learning"] = float32(jax.vmap(rlax.double_q_learning)(*args, x["q_selector_t"]))
    return {f"td/{name}": value for name, value in x.items()}


def categorical(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Record C51 losses and projections; some rewards put atoms on atoms, some beyond the support."""
    x = transitions(rng)
    x["r_t"][:4] = (0.0, 0.4, 15.0, -15.0)
    x["discount_t"][:4] = (1.0, 1.0, 0.99, 0.99)
    x["atoms"] = np.linspace(-10, 10, ATOMS, dtype=np.float32)
    x["logits_tm1"] = float32(rng.normal(0, 2, (BATCH, ACTIONS, ATOMS)))
    x["logits_t"] = float32(rng.normal(0, 2, (BATCH, ACTIONS, ATOMS)))
    args = (x["atoms"], x["logits_tm1"], x["a_tm1"], x["r_t"], x["discount_t"], x["atoms"], x["logits_t"])
    axes = (None, 0, 0, 0, 0, None, 0)
    x["categorical_q_learning"] = float32(jax.vmap(rlax.categorical_q_learning, axes)(*args))
    x["categorical_double_q_learning"] = float32(
        jax.vmap(rlax.categorical_double_q_learning, (*axes, 0))(*args, x["q_selector_t"])
    )
    x["values"] = x["r_t"][:, None] + x["discount_t"][:, None] * x["atoms"]
    x["probabilities"] = float32(jax.nn.softmax(x["logits_t"][:, 0]))
    x["projection"] = float32(
        jax.vmap(rlax.categorical_l2_project, (0, 0, None))(x["values"], x["probabilities"], x["atoms"])
    )
    return {f"categorical/{name}": value for name, value in x.items()}


def n_step(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Record n-step targets over a sequence with terminal steps, plain and under the value rescaling."""
    x = {
        "r_t": float32(rng.normal(0, 2, STEPS)),
        "terminated": rng.random(STEPS) < 0.15,
        "v_t": float32(rng.normal(0, 5, STEPS)),
        "q_tm1": float32(rng.normal(0, 5, (STEPS, ACTIONS))),
        "a_tm1": rng.integers(0, ACTIONS, STEPS).astype(np.int32),
        "target_q_t": float32(rng.normal(0, 5, (STEPS, ACTIONS))),
        "a_t": rng.integers(0, ACTIONS, STEPS).astype(np.int32),
        "gamma": float32(0.97),
    }
    discount_t = float32(x["gamma"] * ~x["terminated"])
    for n in (1, 3, 5):
        x[f"n_step_{n}"] = float32(rlax.n_step_bootstrapped_returns(x["r_t"], discount_t, x["v_t"], n))
        x[f"transformed_{n}"] = float32(
            rlax.transformed_n_step_q_learning(
                x["q_tm1"],
                x["a_tm1"],
                x["target_q_t"],
                x["a_t"],
                x["r_t"],
                discount_t,
                n,
                tx_pair=rlax.SIGNED_HYPERBOLIC_PAIR,
            )
        )
    return {f"n_step/{name}": value for name, value in x.items()}


def scalar() -> dict[str, np.ndarray]:
    """Record functions of one number."""
    x = float32([-1e4, -321.5, -10, -1.5, -1, -0.3, 0, 0.25, 1, 1.0001, 2, 10, 100, 1000, 58700])
    squashed = float32([-300, -31.6, -9.2, -2.3, -0.4, 0, 0.4, 1, 3.3, 9.15, 31.64, 240])
    return {
        "scalar/x": x,
        "scalar/huber_1": float32(rlax.huber_loss(x, 1.0)),
        "scalar/huber_0.5": float32(rlax.huber_loss(x, 0.5)),
        "scalar/signed_hyperbolic": float32(rlax.signed_hyperbolic(x)),
        "scalar/squashed": squashed,
        "scalar/signed_parabolic": float32(rlax.signed_parabolic(squashed)),
    }


def main() -> None:
    """Write the arrays and their provenance."""
    rng = np.random.default_rng(20260)
    arrays = {**q_learning(rng), **categorical(rng), **n_step(rng), **scalar()}
    np.savez_compressed(HERE / "rlax.npz", **arrays)
    names = ("rlax", "jax", "jaxlib", "numpy", "chex")
    provenance = {
        "producer": "tests/golden/make_rlax_golden.py",
        "versions": {name: version(name) for name in names} | {"python": platform.python_version()},
        "arrays": {name: list(value.shape) for name, value in sorted(arrays.items())},
    }
    (HERE / "rlax.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
