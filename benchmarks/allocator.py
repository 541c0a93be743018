"""What keeping freed memory is worth: an update of Ape-X's network, 42x42 frames, float32, one torch thread.

    python benchmarks/allocator.py [--batch 64] [--rounds 3]

Each round runs both ways in a fresh process of its own, one after the other; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from rlx.learners.allocator import keep_freed_memory
from rlx.networks.q_network import QNetwork, QNetworkConfig

SECONDS = 3.0


def measure(batch: int, keep: bool) -> dict[str, float]:
    """Return milliseconds and page faults of one update."""
    torch.set_num_threads(1)
    if keep:
        keep_freed_memory()
    layers = ((16, 4, 2), (32, 4, 2), (32, 3, 2))
    config = QNetworkConfig(
        "conv", (42, 42), num_actions=6, frame_stack=4, conv_layers=layers, head_hidden_size=256, dueling=True
    )
    online, target = (QNetwork(config).to(memory_format=torch.channels_last) for _ in range(2))
    optimizer = torch.optim.Adam(online.parameters(), fused=True)
    obs, next_obs = torch.randint(0, 256, (2, batch, 4, 42, 42), dtype=torch.uint8)

    def update() -> None:
        q = online(obs).q
        with torch.no_grad():
            prepared = target.torso.prepared(next_obs)
            wanted = target(prepared).q.gather(1, online(prepared).q.argmax(1, keepdim=True))
        optimizer.zero_grad()
        (q[:, :1] - wanted).square().mean().backward()
        optimizer.step()

    for _ in range(10):
        update()
    faults, started, updates = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        update()
        updates += 1
    milliseconds = (time.perf_counter() - started) / updates * 1e3
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"milliseconds": milliseconds, "faults": faults / updates}


def main() -> None:
    """Measure both ways in turn, or one way in this process."""
    parser = argparse.ArgumentParser(description="Time updates with and without kept memory.")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=["keep", "leave"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.batch, arguments.one == "keep")))
        return
    found: dict[str, list[dict[str, float]]] = {"leave": [], "keep": []}
    for _ in range(arguments.rounds):
        for way, results in found.items():
            command = [sys.executable, __file__, "--one", way, "--batch", str(arguments.batch)]
            results.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    for way, results in found.items():
        median = {key: statistics.median(one[key] for one in results) for key in results[0]}
        print(f"{way}: {median['milliseconds']:.2f} ms and {median['faults']:.0f} page faults an update")


if __name__ == "__main__":
    main()
