"""A whole program that trains a fake engine: `python -m tests.runs.kill_me DIR [resume]`. To be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from rlx.runs.directory import RunDirectory
from rlx.runs.loop import train
from rlx.runs.view import PlainView
from tests.runs.fake_engine import FakeEngine, make_spec


def main() -> None:
    path, mode = Path(sys.argv[1]), sys.argv[2]
    # The one to be killed is slow, so that others can start beside it before it is where they end.
    engine = FakeEngine(seconds_per_iteration=0.5 if mode == "forever" else 0.05)
    spec = make_spec(stop={"env_steps": 100_000 if mode == "forever" else 2000})
    if_exists = "resume" if mode == "resume" else "fail"
    train(spec, RunDirectory(path), lambda *_: engine, PlainView(), if_exists=if_exists, tensorboard=False)
    print("weights", engine.weights)


if __name__ == "__main__":
    main()
