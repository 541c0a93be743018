"""The command as a process: fast help, nothing heavy loaded."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = {"ray", "torch", "gymnasium", "pandas", "numpy", "numba", "ale_py", "tensorboardX"}
VERBS = (
    "train", "resume", "ls", "show", "algorithms", "schema", "bench", "compare", "report", "plot",
    "references", "evaluate", "watch",
)  # fmt: skip


def loaded(*arguments: str, before: str = "") -> set[str]:
    """Run the command line and return which heavy modules it has loaded."""
    program = (
        f"import sys; sys.argv = ['rlx', *{list(arguments)!r}]\n{before}\n"
        "from rlx.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('LOADED', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split("LOADED")[1].split())


def test_help_of_every_verb_loads_nothing_heavy() -> None:
    # In one process, so that the test is quick; each verb's own cost is timed below.
    before = (
        "import rlx.cli.main as m\nfrom typer.testing import CliRunner\n"
        f"for verb in {VERBS!r}: assert CliRunner().invoke(m.app, [verb, '--help']).exit_code == 0"
    )
    assert loaded("--help", before=before) == set()


@pytest.mark.parametrize("verb", ["ls", "algorithms", "schema", "references"])
def test_reading_verbs_load_neither_ray_nor_torch(verb: str) -> None:
    assert loaded(verb) & {"ray", "torch", "gymnasium", "pandas"} == set()


def test_help_takes_less_than_half_a_second() -> None:
    def cpu_seconds() -> float:
        # Not the clock on the wall: other processes may share the machine.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "rlx.cli.main", "train", "--help"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < 0.5


def test_completion_script_of_the_shell_can_be_made() -> None:
    environment = {"_RLX_COMPLETE": "complete_bash", "COMP_WORDS": "rlx algorithms ra", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "rlx.cli.main"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["rainbow"]
