"""The files travel with the package, and their licences with them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rlx.reference.tables import DATA

ROOT = Path(__file__).resolve().parents[2]
NAMES = {path.name for path in DATA.iterdir()}


def test_the_readme_names_every_file_and_no_other() -> None:
    text = (DATA / "README.md").read_text()
    table = text.split("## Files")[1].split("## ")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == NAMES - {"README.md"}


def test_apache_sources_are_attributed() -> None:
    licences = (DATA / "README.md").read_text().split("## Licences")[1]
    for source in ("google/dopamine", "ray-project/rl-experiments", "google-deepmind/dqn_zoo"):
        (line,) = [line for line in licences.splitlines() if source in line]
        assert "Apache-2.0" in line
        assert "Copyright" in line
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs/reference-results.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(source, "reference-results.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("20.9 4.34")
    assert "Up'n Down 1x AWS g3.16xlarge" in printed


def test_the_wheel_takes_the_whole_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["rlx"]
    assert not {"include", "exclude", "only-include"} & set(wheel)
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {"*.csv", "*.gz", "*.csv.gz", "*.yaml", "data/"} & set(ignored)
