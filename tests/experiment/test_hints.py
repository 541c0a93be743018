"""What a misspelled key is taken for."""

import pytest

from rlx.experiment.hints import known_paths, unknown_key


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("training.gama", "did you mean 'gamma'?"),
        ("training.learning_rate", "did you mean 'lr'?"),
        ("replay.learning_rate", "did you mean 'training.lr'?"),
        ("training.capacity", "did you mean 'replay.capacity'?"),
        ("buffer_size", "did you mean 'replay.capacity'?"),
        ("num_workers", "did you mean 'env_runners.num_env_runners'?"),
        ("seed", "did you mean 'seeds'?"),
        ("run", "did you mean 'algorithm'?"),
        ("replays", "did you mean 'replay'?"),
        (
            "training.learning_starts",
            "did you mean 'learning_starts_env_steps' (the unit is part of the name)?",
        ),
        ("training.learning_starts_frames", "did you mean 'learning_starts_env_steps' (another unit)?"),
        (
            "training.target_update_period_env_steps",
            "did you mean 'target_update_period_updates' (another unit)?",
        ),
        ("learning_starts", "did you mean 'training.learning_starts_env_steps'?"),
        (
            "evaluation.interval_updates",
            "did you mean 'interval_seconds' or 'interval_env_steps' (another unit)?",
        ),
        ("training.zzzzzz", ""),
    ],
)
def test_hint(path, hint):
    assert unknown_key(tuple(path.split("."))) == hint


def test_hints_lead_to_fields_that_exist():
    from rlx.experiment import hints

    known = {".".join(path) for path in known_paths()}
    assert set(hints._ELSEWHERE.values()) <= known
