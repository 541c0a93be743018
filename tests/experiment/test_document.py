"""YAML reading: scalars, places, and everything that is no YAML of ours."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlx.experiment.document import parse_tolerantly, parse_yaml, read_scalar
from rlx.experiment.problems import ExperimentError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.5e-4", 2.5e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("+7", 7),
        ("1_000_000", 1_000_000),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("off", "off"),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        (".", "."),
        ("1__0", "1__0"),
        ("ALE/Pong-v5", "ALE/Pong-v5"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    read = read_scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_quotes_and_tags_decide():
    document = parse_yaml("a: '1e-4'\nb: !!str 5\nc: !!int '5'\nd: |\n  12\n", "f")
    assert document.data == {"a": "1e-4", "b": "5", "c": 5, "d": "12\n"}


def test_places_count_from_one():
    document = parse_yaml("a: 1\nb:\n  c: [x, 20]\n", "f.yaml")
    assert str(document.places[("a",)]) == "f.yaml:1:4"
    assert str(document.keys[("b", "c")]) == "f.yaml:3:3"
    assert str(document.places[("b", "c", "1")]) == "f.yaml:3:10"
    assert str(document.place(("b", "c", "1", "deeper"))) == "f.yaml:3:10"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a:\n\tb: 1\n", "f:2:1: a tab; YAML is indented with spaces"),
        (
            "a: [1\nb: 2\n",
            "f:2:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        ),
        ("a: b: c\n", "f:1:5: not YAML: mapping values are not allowed here"),
        ("a: 1\nb: \x01\n", "f:2:4: the character '\\x01' is not allowed in YAML"),
        ("a: *x\n", "f:1:4: not YAML: found undefined alias 'x'"),
        ("a: &x [*x]\n", "f:1:4: a.0: an alias of something that contains it"),
        ("<<: {a: 1}\n", "f:1:1: merge keys (<<) are not supported"),
        ("? [a]\n: 1\n", "f:1:3: a key must be a plain word"),
        ("a: {b: 1, b: 2}\n", "f:1:11: a.b: given twice; first in line 1"),
        (
            "a: 1\n---\nb: 1\n",
            "f:2:1: not YAML: expected a single document in the stream, but found another document",
        ),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "f:1:4: a: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not supported; "
            "nothing is evaluated",
        ),
    ],
)
def test_what_is_no_yaml_of_ours(text, error):
    with pytest.raises(ExperimentError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value) == error


def test_duplicate_keys_are_all_reported_and_the_first_value_kept():
    document, problems = parse_tolerantly("a: 1\na: 2\nb: 3\nb: 4\n", "f")
    assert [str(p) for p in problems] == [
        "f:2:1: a: given twice; first in line 1",
        "f:4:1: b: given twice; first in line 3",
    ]
    assert document.data == {"a": 1, "b": 3}


def test_aliases_cannot_multiply_without_end():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    with pytest.raises(ExperimentError, match="more than 20000 values"):
        parse_yaml("\n".join(lines), "f")


# JSON writes what is beyond these as surrogate pairs, which YAML does not join.
characters = st.characters(max_codepoint=0xD7FF)
scalars = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(characters, max_size=8)
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(characters, min_size=1, max_size=5).filter(lambda k: k != "<<"), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), values, max_size=4))
def test_what_another_library_wrote_is_read_back(data):
    # JSON is YAML 1.2: quoted strings, floats with exponents.
    assert parse_yaml(json.dumps(data), "f").data == data


def test_agrees_with_pyyaml_where_versions_agree():
    text = "a: [1, 2.5, x, null, true]\nb: {c: -1, d: 'q', e: \"r\\n\"}\nf: >\n  folded\n  text\n"
    assert parse_yaml(text, "f").data == yaml.safe_load(text)
