"""What is loaded at run time: the command line and the pure packages work without Ray, most without torch.

`.importlinter` says the same of the source; here a fresh process imports each module with a package blocked.
"""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import rlx

PURE = (
    "cli",
    "cluster",
    "compare",
    "envs",
    "errors",
    "evaluation",
    "experiment",
    "losses",
    "plugins",
    "reference",
    "replay",
    "report",
    "runs",
    "video",
)
ENGINE = {"rlx.replay.shard_actor"}
WITHOUT_RAY = {
    "rlx.actors.epsilon",
    "rlx.actors.frame_stack",
    "rlx.actors.lanes",
    "rlx.learners.optimizers",
    "rlx.networks.heads",
    "rlx.networks.noisy",
    "rlx.networks.q_network",
    "rlx.networks.torsos",
}


def modules() -> list[str]:
    """List the pure packages' modules, those that are the engine's own apart."""
    found = [module.name for module in pkgutil.walk_packages(rlx.__path__, "rlx.")]
    pure = [name for name in found if name.split(".")[1] in PURE and name not in ENGINE]
    assert len(pure) > 40
    assert set(found) >= WITHOUT_RAY | ENGINE
    return pure


def imported_without(blocked: tuple[str, ...], names: list[str]) -> str:
    """Import modules in a fresh process where some packages cannot be imported; its errors."""
    program = (
        "import importlib, sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    ).stderr.strip()


def test_the_command_line_loads_neither_ray_nor_torch() -> None:
    program = "import sys, rlx.cli.main; print(*sorted({'ray', 'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_pure_packages_need_no_ray() -> None:
    assert imported_without(("ray",), [*modules(), *sorted(WITHOUT_RAY)]) == ""


def test_pure_packages_need_no_torch() -> None:
    names = [name for name in modules() if not name.startswith("rlx.losses")]
    names += ["rlx.actors.epsilon", "rlx.actors.frame_stack", "rlx.actors.lanes"]
    assert imported_without(("ray", "torch"), names) == ""


def test_a_blocked_package_is_noticed() -> None:
    assert "ModuleNotFoundError" in imported_without(("ray",), ["rlx.actors.env_runner"])
    assert "ModuleNotFoundError" in imported_without(("torch",), ["rlx.losses.td"])
