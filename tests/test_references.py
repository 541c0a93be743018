"""Every key that the source cites is in docs/references.md, and every key there has one address."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEY = re.compile(r"\[([A-Za-z][\w-]+)\]")
SOURCE = re.compile(
    r"Source: (.*?)(?:\n\s*\n|\"\"\"|\n\s*(?:Args|Returns|Raises|Differs|Yields):)", re.DOTALL
)
BESIDE_VALUE = re.compile(r"\[([A-Z][\w-]+)\](?= (?:section|table|algorithm|appendix|Methods|Extended)|[.;])")
ROW = re.compile(r"^\| (`[^|]+`) \| (.+) \| <(https://[^>]+)> \|$", re.MULTILINE)


def known_keys() -> dict[str, str]:
    """Map the keys of the reference tables to their addresses."""
    keys: dict[str, str] = {}
    for cell, _, address in ROW.findall((ROOT / "docs/references.md").read_text()):
        for key in re.findall(r"`([^`]+)`", cell):
            assert key not in keys, f"{key} has two rows"
            keys[key] = address
    return keys


def cited_keys(text: str, pattern: re.Pattern[str] = KEY) -> set[str]:
    """Find the keys in the Source paragraphs of a file."""
    return {key for paragraph in SOURCE.findall(text) for key in pattern.findall(paragraph)}


def test_a_citation_is_found_over_several_lines() -> None:
    text = '"""Do.\n\n    Source: [AB] section 1;\n    [C51] eq. 7.\n\n    Not [XYZ].\n    """'
    assert cited_keys(text) == {"AB", "C51"}


def test_every_cited_key_has_a_reference() -> None:
    known = known_keys()
    unknown = {
        f"{path.relative_to(ROOT)}: [{key}]"
        for path in sorted((ROOT / "rlx").rglob("*.py"))
        for key in cited_keys(path.read_text())
        if key not in known
    }
    assert not unknown, "not in docs/references.md: " + ", ".join(sorted(unknown))


def test_presets_cite_known_keys() -> None:
    """They cite beside each value and not in Source paragraphs."""
    cited = set(BESIDE_VALUE.findall((ROOT / "rlx/experiment/presets.py").read_text()))
    assert cited, "the pattern finds nothing"
    assert cited <= set(known_keys())


def test_papers_that_are_easily_swapped_have_the_right_address() -> None:
    known = known_keys()
    assert known["NGU"].endswith("2002.06038")
    assert known["Agent57"].endswith("2003.13350")
    assert known["ApeX"].endswith("1803.00933")
    assert known["Rainbow"].endswith("1710.02298")
