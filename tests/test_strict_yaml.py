import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalance_cli.errors import DataError, SettingError
from imbalance_cli.strict_yaml import dump_yaml, parse_yaml, read_yaml


def read(text):
    return parse_yaml(text, source="x.yaml", error=SettingError)


def refusal(text):
    with pytest.raises(SettingError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def parser(request, monkeypatch):
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML was built without libyaml")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        (".inf", float("inf")),
        ("12", 12),
        ("+12", 12),
        ("-0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        *((word, word) for word in ("no", "yes", "on", "off", "No", "y", "2024-01-01", "1_000", "1.2.3", "e3")),
    ],
)
def test_plain_words_follow_yaml_1_2(word, value):
    result = read(f"key: {word}").value["key"]
    assert result == value and type(result) is type(value)


def test_quoted_words_are_text():
    assert read("""[ '12', "true", 'null', "010", '1:30' ]""").value == ["12", "true", "null", "010", "1:30"]


def test_keys_are_always_text():
    assert read("{123: a, no: b, true: c, 010: d, ~: e}").value == dict(
        zip(("123", "no", "true", "010", "~"), "abcde", strict=True)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nseed: 010", ["x.yaml:2: seed", "010", "write 10"]),
        ("seed: -007", ["octal", "write -7"]),
        ("time: 1:30", ["x.yaml:1: time", "1:30"]),
        ("a: {b: [1, " + "9" * 5000 + "]}", ["x.yaml:1: a.b.1", "5000 characters", "out of range"]),
        (f"a: {2**64}", ["out of range"]),
        ("a: -0x1\nb: 0x1" + "0" * 16, ["x.yaml:2: b", "out of range"]),
        ("a: 1e999", ["a", "out of range"]),
        ("a: 1\nb: 2\na: 3", ["x.yaml:3: a", "given twice", "line 1"]),
        ("s:\n  a: 1\n  a: 1", ["x.yaml:3: s.a", "twice"]),
        ("a: !!python/object/apply:os.system [touch PWNED]", ["x.yaml:1: a", "tag", "os.system"]),
        ("a: !x 1", ["tag"]),
        ("!x k: 1", ["tag"]),
        ("a: &x 1\nb: 2", ["x.yaml:1: a", "anchors and aliases"]),
        ("a: 1\nb: *x", ["x.yaml:2: b", "anchors and aliases"]),
        ("a: 1\n---\nb: 2", ["x.yaml:2: ", "one document"]),
        ("[" * 2000, ["nested too deep"]),
        ("a: " + "{a: " * 60, ["nested too deep"]),
        ("", ["x.yaml is empty"]),
        ("# nothing but a comment\n", ["x.yaml is empty"]),
        ("a: [1, 2\nb: 3", ["x.yaml:2: ", "not valid YAML"]),
        ("a: b: c", ["x.yaml:1: ", "not valid YAML"]),
        ("a:\n\tb: 1", ["x.yaml:2: ", "a tab; indent with spaces"]),
        ("[1]: 2", ["where a key should"]),
        ("a: 1\nb: \x07", ["x.yaml:2: ", "U+0007"]),
        ("a: \udcff", ["U+DCFF"]),
    ],
)
def test_a_refusal_names_line_key_and_cure(text, words):
    message = refusal(text)
    assert all(word in message for word in words), message


def test_alias_bombs_and_code_do_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]")
    refusal("!!python/object/apply:os.system [touch PWNED]")
    assert not Path("PWNED").exists()


def test_lines_name_where_each_setting_stands():
    document = read("# comment\ndata:\n  ratio: 1\nstages:\n- a: 1\n- b:\n    2\n")
    assert document.line("data", "ratio") == 3
    assert document.line("stages", 1, "b") == 6
    assert document.line("data", "missing") == 2
    assert document.line("missing") == 2  # the top starts here
    assert document.line() == 2


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "c.yaml", error=SettingError).value == {"a": 1}


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"ab\xff\xfe")
    (tmp_path / "long.yaml").write_text("a: 1\n" * 100)
    os.mkfifo(tmp_path / "fifo.yaml")
    for name, words in {
        "bytes.yaml": "not UTF-8 text: byte 2",
        "long.yaml": "500 bytes; at most 100",
        "fifo.yaml": "not a regular file",
        ".": "is a folder",
        "nope.yaml": "there is no file",
        "bytes.yaml/x": "cannot read",
    }.items():
        with pytest.raises(DataError, match=words) as caught:
            read_yaml(tmp_path / name, error=DataError, max_bytes=100)
        assert str(tmp_path / name) in str(caught.value)


words = "no on 1e-3 0x1f 010 1:30 ~ null .inf - # !a &a *a << = 1_000 2024-01-01 ' \" \\ \\udcff".split()
characters = ["\ufeff", "\x85", "\u2028", "\udcff", "\0", "😀", "", "- a", "a: b", "x ", " x", "a\n b", "a\n"]
texts = st.text(alphabet=st.characters(), max_size=20) | st.sampled_from(words + characters)
plain_values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_what_is_dumped_reads_back(value):
    text = dump_yaml(value)
    text.encode("utf-8")
    assert read(text).value == value


def test_dumped_text_is_for_people():
    assert dump_yaml({"name": "no", "lr": 1e-3, "gamma": (0, 1), "class": "naïve cat", "nested": {"a": None}}) == (
        "name: 'no'\nlr: 0.001\ngamma: [0, 1]\nclass: naïve cat\nnested:\n  a: null\n"
    )


def test_repeated_values_are_written_out():
    shared = {"a": [1]}
    assert read(dump_yaml([shared, shared])).value == [shared, shared]


def test_reading_settings_does_not_wait_for_torch():
    code = "import sys, imbalance_cli.strict_yaml; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
