"""How env steps per second grow with runners, in an environment of fixed latency, over several hosts.

    python -m benchmarks.scaling [--hosts 4] [--runners 1,2,4,8,16,32,64] [--out scaling.jsonl]
    python -m benchmarks.scaling --read scaling.jsonl --write docs/benchmarks.md

As root, from the checkout, on Linux. It brings up hosts out of namespaces (`tests/rehearsal/hosts.py`) with
a network of their own and a cluster on them with `rlx cluster up`, hands in one experiment after the other
with `rlx cluster submit`, and takes everything down again, also on Ctrl-C or SIGTERM. The default takes about
20 minutes on two cores; 64 runners need 21 GiB of free memory, and a count that would not fit is not tried.

Every runner's step takes `--latency` seconds (`rlx/FixedLatency-v0`), its CPU time within: the runners of all
hosts share this machine's few cores, and so the figure says what the system beside them bears: driver,
shards, Ray, memory. The algorithm is Ape-X DQN with a small network; the learner is in the driver and has
little to do. A rate is the slope of the run's `env_steps` over its `seconds`, by least squares: blocks come
in whole, so that the two ends alone would be wrong by a block. It is taken over all windows together, and of
each alone for the lowest. "Linear" is the rate of the smallest count, times the runners.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import math
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.scaling_report import Limit, Step, fits, limit_of, report, slope, windows_of
from rlx.experiment.reference import write_between
from tests.rehearsal.hosts import Hosts, RehearsalError, why_not
from tests.rehearsal.laptop import Laptop, last_row, wait_for

ROOT = Path(__file__).resolve().parents[1]
BEGIN = (
    "<!-- scaling: begin. Made by: python -m benchmarks.scaling --read FILE --write docs/benchmarks.md -->"
)
END = "<!-- scaling: end -->"
NETWORK, BRIDGE = "10.78.0", "rlxscale0"

#: CPUs that Ray counts on each host beyond its runners: driver, shards.
_ROOM_CPUS = 3
#: Taken for a runner, and for all else of a job, before the first was measured.
_RUNNER_BYTES, _JOB_BYTES = 330e6, 800e6
#: Share of the machine's memory that stays free: Ray kills workers above 95%.
_RESERVE = 0.06

EXPERIMENT = """\
name: scaling
algorithm: apex_dqn
env: rlx/FixedLatency-v0
stop: {{seconds: 100000}}
environment: {{env_config: {{latency_seconds: {latency}, length: 100}}}}
env_runners:
  num_env_runners: {runners}
  num_envs_per_env_runner: {lanes}
  rollout_length_env_steps: {rollout}
  weights_pull_period_env_steps: 160
  max_requests_in_flight: 2
replay: {{capacity: 100000, num_shards: {shards}, samples_per_env_step: 0.5}}
training: {{batch_size: 32, learning_starts_env_steps: 100, optimizer: adam, lr: 1e-4}}
rl_module: {{torso: mlp, hidden_sizes: [32], head_hidden_size: 32}}
learners: {{num_learners: 0, num_gpus_per_learner: 0}}
evaluation: {{interval_env_steps: null, interval_seconds: null, at_end: false}}
checkpointing: {{interval_seconds: null, at_end: false}}
fault_tolerance: {{startup_timeout_seconds: 1800, runner_timeout_seconds: 120}}
reporting: {{interval_seconds: 1}}
"""


class ScalingError(Exception):
    """A step could not be measured."""


@dataclass
class Usage:
    """CPU seconds and private bytes of the cluster's processes, by part, and of the machine."""

    at: float
    busy_seconds: float
    cpu: dict[int, tuple[str, float]]

    @classmethod
    def now(cls, hosts: Hosts) -> Usage:
        """Look at all processes of the hosts."""
        cpu = {}
        for process in processes(hosts):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                cpu[process.pid] = (part_of(process.cmdline()), times.user + times.system)
        times = psutil.cpu_times()
        return cls(time.monotonic(), sum(times) - times.idle - times.iowait - times.guest, cpu)

    def since(self, before: Usage) -> dict[str, list[float]]:
        """Return the share of a core that each process took since then, by part."""
        shares: dict[str, list[float]] = {}
        for pid, (part, seconds) in self.cpu.items():
            earlier = before.cpu.get(pid, (part, 0.0))[1]
            shares.setdefault(part, []).append((seconds - earlier) / (self.at - before.at))
        return shares


def processes(hosts: Hosts) -> Iterator[psutil.Process]:
    """Yield all processes of the hosts."""
    for host in hosts.all.values():
        with contextlib.suppress(psutil.Error):
            yield from psutil.Process(host.pid).children(recursive=True)


def part_of(command: Sequence[str]) -> str:
    """Say what a process is from its command line: driver, runner, shard, idle worker, or Ray."""
    words = " ".join(command)
    for part, sign in (
        ("runner", "ray::ReplayEnvRunner"),
        ("shard", "ray::ReplayShard"),
        ("idle", "ray::IDLE"),
    ):
        if words.startswith(sign):
            return part
    return "driver" if "/rlx train" in words and not words.startswith(("/bin/sh", "bash")) else "ray"


def private_bytes(hosts: Hosts) -> dict[str, list[int]]:
    """Return the private memory (USS) of each process of the hosts, by part."""
    found: dict[str, list[int]] = {}
    for process in processes(hosts):
        with contextlib.suppress(psutil.Error):
            found.setdefault(part_of(process.cmdline()), []).append(process.memory_full_info().uss)
    return found


@dataclass
class Lab:
    """The cluster that is up."""

    hosts: Hosts
    laptop: Laptop
    file: Path
    runs: Path
    options: argparse.Namespace

    def submit(self, runners: int) -> Path:
        """Hand in the experiment with so many runners; the run directory."""
        name = f"runners-{runners}"
        experiment = self.file.with_name("scaling.yaml")
        options = self.options
        text = EXPERIMENT.format(
            runners=runners,
            latency=options.latency,
            lanes=options.lanes,
            rollout=options.rollout,
            shards=options.shards,
        )
        experiment.write_text(text)
        self.laptop.rlx("cluster", "submit", str(experiment), "-c", str(self.file), "--name", name)
        return self.runs / f"{name}-rlx-FixedLatency-v0-seed0"

    def job_state(self) -> tuple[str, str]:
        """Return id and state of the newest job."""
        jobs = self.laptop.json("cluster", "status", "-c", str(self.file))["jobs"]
        return (jobs[0]["id"], jobs[0]["state"]) if jobs else ("", "")

    def measure(self, runners: int) -> Step:
        """Train with so many runners, measure, and stop.

        Raises:
            ScalingError: they did not come in, or went; with the end of the job's log.
        """
        run = self.submit(runners)
        try:
            began = time.monotonic()
            self._wait_for_all(run, runners)
            started_seconds = time.monotonic() - began
            return self._measure(run, runners, started_seconds)
        except AssertionError as error:
            raise ScalingError(f"{runners} runners: {error}") from None
        finally:
            self._stop()

    def _wait_for_all(self, run: Path, runners: int) -> None:
        looked = time.monotonic()

        def ready() -> bool:
            nonlocal looked
            row = last_row(run)
            if row.get("healthy_runners") == runners and row.get("updates", 0) > 0:
                return True
            if time.monotonic() - looked > 30:
                looked = time.monotonic()
                state = self.job_state()[1]
                if state not in ("", "PENDING", "RUNNING"):
                    log = self.laptop.rlx("cluster", "logs", "-c", str(self.file)).strip()
                    raise AssertionError(f"the job is {state}: {log[-800:]}")
            return False

        wait_for("training with all runners", ready, 180 + 15 * runners)

    def _measure(self, run: Path, runners: int, started_seconds: float) -> Step:
        options = self.options
        first = self._seconds_at(run, last_row(run)["seconds"] + options.discard)
        before, healthy = Usage.now(self.hosts), [last_row(run)["healthy_runners"]]
        length = options.windows * options.seconds
        self._seconds_at(run, first + length)
        after = Usage.now(self.hosts)
        used = psutil.virtual_memory()
        healthy.append(last_row(run)["healthy_runners"])
        rows = [json.loads(line) for line in (run / "result.json").read_text().splitlines()]
        points = [(row["seconds"], row["env_steps"]) for row in rows]
        (whole,) = windows_of(points, first, length, 1)
        parts = windows_of(points, first, options.seconds, options.windows)
        shares, memory = after.since(before), private_bytes(self.hosts)
        cores = os.cpu_count() or 1
        return Step(
            runners=runners,
            steps_per_second=slope(whole),
            least_steps_per_second=min(slope(part) for part in parts),
            healthy_begin=healthy[0],
            healthy_end=healthy[1],
            cpu_fraction=(after.busy_seconds - before.busy_seconds) / (after.at - before.at) / cores,
            driver_cores=sum(shares.get("driver", [])),
            shard_cores=max(shares.get("shard", [0.0])),
            runner_cores=sum(shares.get("runner", [])),
            ray_cores=sum(shares.get("ray", [])) + sum(shares.get("idle", [])),
            runner_bytes=statistics.fmean(memory.get("runner", [0])),
            job_bytes=sum(memory.get("driver", [])) + sum(memory.get("shard", [])),
            memory_used_bytes=used.total - used.available,
            start_seconds=started_seconds,
        )

    def _seconds_at(self, run: Path, seconds: float) -> float:
        """Wait until a run has trained for so long; return how long it has."""
        now = last_row(run)["seconds"]
        wait_for(
            f"{seconds:.0f} s of training",
            lambda: last_row(run)["seconds"] >= seconds,
            60 + 3 * (seconds - now),
            every=0.2,
        )
        return float(last_row(run)["seconds"])

    def _stop(self) -> None:
        with contextlib.suppress(AssertionError):  # a failed job has ended already
            self.laptop.rlx("cluster", "stop", "-c", str(self.file), "--wait", "120")
        with contextlib.suppress(AssertionError):
            wait_for("the runners' end", lambda: not private_bytes(self.hosts).get("runner"), 60)


@contextlib.contextmanager
def cluster(options: argparse.Namespace) -> Iterator[Lab]:
    """Bring hosts and a cluster up, and take both down whatever happens."""
    stage = Path(tempfile.mkdtemp(prefix="rlx-scaling-", dir="/var/tmp"))
    stage.chmod(0o755)
    laptop = Laptop(stage / "home", {"PYTHONPATH": str(ROOT)})
    addresses = [f"{NETWORK}.{10 + index}" for index in range(options.hosts)]
    per_host = math.ceil(max(options.runners) / options.hosts) + _ROOM_CPUS
    try:
        with Hosts(stage / "hosts", network=NETWORK, bridge=BRIDGE, visible=[ROOT, stage]) as hosts:
            for index, address in enumerate(addresses):
                hosts.add(f"s{index}", address, profile=f"export PYTHONPATH={shlex.quote(str(ROOT))}\n")
            file = stage / "scaling-cluster.yaml"
            file.write_text(
                f"name: scaling\nprovider: on-premise\nhosts: [{', '.join(addresses)}]\nssh_user: root\n"
                f"ssh_key: {hosts.key}\nenvironment: {sys.prefix}\nstorage: {stage}/runs\n"
                f"num_cpus: {per_host}\nobject_store_gb: 0.1\n"
            )
            say(f"{options.hosts} hosts, {per_host} CPUs counted on each; rlx cluster up")
            try:
                laptop.rlx("cluster", "up", str(file), "--yes", timeout_seconds=600)
                yield Lab(hosts, laptop, file, stage / "runs", options)
            finally:
                say("rlx cluster down")
                try:
                    laptop.rlx("cluster", "down", str(file), "--yes")
                except AssertionError as error:
                    say(str(error))
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def machine() -> str:
    """Describe this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    return f"{os.cpu_count()} cores ({model}), {psutil.virtual_memory().total / 2**30:.1f} GiB"


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Say what is measured, where, and at which commit."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "command": f"python -m benchmarks.scaling {shlex.join(_without_files(sys.argv[1:]))}".strip(),
        "commit": git.stdout.strip() or "unknown",
        "machine": machine(),
        "load": os.getloadavg()[0],
        "hosts": options.hosts,
        "seed": 0,
        **{
            key: getattr(options, key)
            for key in ("latency", "lanes", "rollout", "shards", "seconds", "windows")
        },
    }


def _without_files(words: Sequence[str]) -> list[str]:
    """Leave out where results go: that is not of the measurement."""
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith(("--out", "--write")):
            kept.append(word)
        skip = word in ("--out", "--write")
    return kept


def measure_all(options: argparse.Namespace, write: Any) -> None:
    """Measure one count after the other, and write each as it comes."""
    steps: list[Step] = []
    limit: Limit | None = None
    with cluster(options) as lab:
        for runners in options.runners:
            memory = psutil.virtual_memory()
            each = max((step.runner_bytes for step in steps), default=_RUNNER_BYTES)
            job = max((step.job_bytes for step in steps), default=_JOB_BYTES)
            # Idle workers become runners of the next job, or end.
            available = memory.available + sum(private_bytes(lab.hosts).get("idle", []))
            short = fits(runners, each, job, available, _RESERVE * memory.total)
            if short is not None:
                limit = short
                say(limit.cause)
                break
            say(f"{runners} runners: handed in")
            try:
                steps.append(lab.measure(runners))
            except ScalingError as error:
                say(str(error))
                limit = Limit(
                    runners, f"{runners} runners could not be measured: {str(error).splitlines()[0]}"
                )
                break
            write({"step": asdict(steps[-1])})
            say(f"{runners} runners: {steps[-1].steps_per_second:.1f} env steps/s")
    limit = limit_of(steps, os.cpu_count() or 1) or limit
    write({"limit": asdict(limit) if limit else None})


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def read(file: Path) -> str:
    """Return the report on a file of lines."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    steps = [Step(**line["step"]) for line in lines if "step" in line]
    limits = [Limit(**line["limit"]) for line in lines if line.get("limit")]
    facts = next(line["about"] for line in lines if "about" in line)
    return report(facts, steps, limits[-1] if limits else None)


def counts(text: str) -> list[int]:
    """Read `1,2,4`: rising numbers of runners."""
    numbers = [int(part) for part in text.split(",")]
    if numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be rising whole numbers of at least 1")
    return numbers


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--runners", type=counts, default=counts("1,2,4,8,16,32,64"), metavar="N,N,...")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds of a step of one runner")
    parser.add_argument("--lanes", type=int, default=1, help="environments of a runner")
    parser.add_argument("--rollout", type=int, default=16, help="env steps of each environment in a block")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--discard", type=float, default=10.0, help="first seconds with all runners")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a window")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("scaling.jsonl"), help="file of JSON lines")
    parser.add_argument("--read", type=Path, metavar="FILE", help="report on this file, measure nothing")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="write the report between its marks")
    return parser.parse_args(words)


def main() -> int:
    """Measure, or read what was measured; print the report."""
    options = parsed()
    file = options.read or options.out
    if not options.read:
        if reason := why_not():
            say(reason)
            return 1
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with open("/var/lock/rlx-scaling", "w") as lock, file.open("w", encoding="utf-8") as out:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the network is fixed

            def write(line: dict[str, Any]) -> None:
                out.write(json.dumps(line) + "\n")
                out.flush()

            write({"about": about(options)})
            try:
                measure_all(options, write)
            except (AssertionError, RehearsalError) as error:
                say(str(error))
                return 1
    text = read(file)
    print(text)
    if options.write:
        options.write.write_text(write_between(options.write.read_text(), BEGIN, END, text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
