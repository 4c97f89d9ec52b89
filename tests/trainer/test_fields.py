"""Dataclasses from plain data and back, and the sentences when they do not fit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from roikit.trainer.fields import ConfigError, UserPath, differences, merge, parse_overrides, plain
from roikit.trainer.written import read_written


@dataclass(frozen=True)
class Leaf:
    width: int = 3
    rate: float = 0.5
    name: str = "leaf"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "a")
    mode: Literal["off", "bf16", "fp16"] = "off"
    limit: int | None = None
    flag: bool = False
    either: int | str = 1
    table: dict[str, float] = field(default_factory=dict)
    nested: tuple[tuple[float, ...], ...] = ((1.0,),)
    free: Any = None
    names: tuple[str, ...] = ()
    place: UserPath = "here"
    source: UserPath | None = None

    def __post_init__(self):
        if self.width < 0:
            raise ValueError(f"width must not be negative, got {self.width}")


@dataclass(frozen=True)
class Tree:
    left: Leaf = field(default_factory=lambda: Leaf(width=7))
    right: Leaf | None = field(default_factory=Leaf)
    height: float = 1.0


leaves = st.builds(
    Leaf, width=st.integers(0, 10**6), rate=st.floats(allow_nan=False), name=st.text(),
    sizes=st.lists(st.integers()).map(tuple), pair=st.tuples(st.floats(allow_nan=False), st.text()),
    mode=st.sampled_from(["off", "bf16", "fp16"]), limit=st.none() | st.integers(),
    flag=st.booleans(), either=st.integers() | st.text(),
    table=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    nested=st.lists(st.lists(st.floats(allow_nan=False)).map(tuple)).map(tuple),
)


@given(st.builds(Tree, left=leaves, right=st.none() | leaves, height=st.floats(allow_nan=False)))
def test_law_plain_data_and_yaml_lead_back_to_the_same_dataclass(tree):
    assert merge(Tree(), plain(tree)) == tree
    assert merge(Tree(), yaml.safe_load(yaml.safe_dump(plain(tree)))) == tree


def test_law_what_is_left_out_stays():
    tree = merge(Tree(), {"left": {"rate": 0.25}})
    assert tree.left == Leaf(width=7, rate=0.25)
    assert tree.right == Leaf()
    assert merge(merge(Tree(), {"right": None}), {"right": {"width": 4}}).right == Leaf(width=4)


@pytest.mark.parametrize("text, want", [
    ("left.rate=1e-3", ("rate", 0.001)), ("left.rate=2", ("rate", 2.0)),
    ("left.sizes=[4, 5]", ("sizes", (4, 5))), ("left.mode=off", ("mode", "off")),
    ("left.mode=bf16", ("mode", "bf16")), ("left.limit=", ("limit", None)),
    ("left.limit=null", ("limit", None)), ("left.limit=9", ("limit", 9)),
    ("left.flag=true", ("flag", True)), ("left.name='3'", ("name", "3")),
    ("left.pair=[1, x=y]", ("pair", (1.0, "x=y"))), ("left.either=word", ("either", "word")),
    ("left.either=7", ("either", 7)), ("left.either=1.5", ("either", "1.5")), ("left.limit=~", ("limit", None)),
])
def test_agreement_of_overrides_with_yaml(text, want):
    name, value = want
    got = getattr(merge(Tree(), parse_overrides([text])).left, name)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("text, sentence", [
    ("left.widht=1", r"unknown key left\.widht; did you mean left\.width\?"),
    ("hight=1", r"unknown key hight; did you mean height\?"),
    ("left.zzz=1", r"unknown key left\.zzz; known are either, flag, "),
    ("left.width=1.5", r"left\.width must be a whole number, got 1\.5 \(float\)"),
    ("left.width=true", r"left\.width must be a whole number, got True \(bool\)"),
    ("left.rate=fast", r"left\.rate must be a number, got 'fast' \(str\)"),
    ("left.rate=", r"left\.rate must be a number, got null"),
    ("left.flag=1", r"left\.flag must be true or false, got 1 \(int\)"),
    ("left.mode=fp8", r"left\.mode must be one of off, bf16, fp16, got 'fp8'"),
    ("left.mode=on", r"left\.mode must be one of off, bf16, fp16, got 'on'"),
    ("left.sizes=4", r"left\.sizes must be a list, got 4 \(int\)"),
    ("left.sizes=[1, a]", r"left\.sizes\[1\] must be a whole number, got 'a'"),
    ("left.pair=[1]", r"left\.pair must have 2 entries, got 1"),
    ("left.limit=x", r"left\.limit must be a whole number, got 'x'"),
    ("left.either=", r"left\.either must be a whole number or a string, got null"),
    ("left.name=", r"left\.name must be a string, got null"),
    ("left.place=", r"left\.place must be a string, got null"),
    ("left.table={[a]: 1}", r"left\.table: '\{\[a\]: 1\}' is not a YAML value"),
    ("left.sizes=&a [*a]", r"left\.sizes: '&a \[\*a\]' is not a YAML value"),
    ("left.sizes=" + 3000 * "[", r"left\.sizes: .* is not a YAML value"),
    ("left.table={a: b}", r"left\.table\.a must be a number"),
    ("left=3", r"left must be a mapping, got 3"),
    ("left.width=-1", r"left: width must not be negative, got -1"),
    ("left.width", r"must read dotted\.key=value, got 'left\.width'"),
    ("=3", r"must read dotted\.key=value, got '=3'"),
    ("left.sizes=[1", r"left\.sizes: '\[1' is not a YAML value"),
])
def test_contract_errors_say_where_what_and_the_nearest(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        merge(Tree(), parse_overrides([text]))


AS_WRITTEN = ["photos #2", "2024", "007", "1e5", "2024-05-01", "2024-99-99", "yes", "off", "null", "a: b", "{a}", "[a]",
              "#2", "- x", "it's", "!x", "*x", "& y", "C:\\data\\new", "a=b", "%d", "@x", "100%", "x ", "\"",
              "a \"b\" c", "1:30"]


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_law_text_is_taken_as_it_is_written(text):
    for name in ("name", "place"):
        assert getattr(merge(Tree(), parse_overrides([f"left.{name}={text}"])).left, name) == text.strip()
    quoted = yaml.safe_dump(text, default_style='"', width=1000).strip()
    leaf = merge(Tree(), parse_overrides([f"left.name={quoted}", f"left.names=[{quoted}, x]"])).left
    assert leaf.name == text and leaf.names == (text, "x")
    assert type(leaf.name) is str and type(leaf.names[0]) is str


@pytest.mark.parametrize("text", "2024 007 1e5 1.50 2024-05-01 2024-99-99 yes off 0x1F 1:30".split())
def test_law_plain_words_of_a_file_are_text_where_text_is_wanted(text):
    leaf = merge(Tree(), read_written(f"left: {{name: {text}, names: [{text}], place: {text}, either: w}}")).left
    assert (leaf.name, leaf.names, leaf.place) == (text, (text,), text) and type(leaf.name) is str
    other = "left: {width: 7, rate: 1e-3, sizes: [3], flag: yes, mode: off, free: {on: [1]}}"
    leaf = merge(Tree(), read_written(other)).left
    assert (leaf.width, leaf.rate, leaf.sizes, leaf.flag, leaf.mode) == (7, 0.001, (3,), True, "off")
    assert leaf.free == {"on": [1]}
    assert type(leaf.width) is int and type(leaf.free["on"][0]) is int


def test_contract_a_file_says_what_does_not_fit():
    for text, sentence in [("left: {name: }", "left.name must be a string, got null"),
                           ("left: {width: 1.5}", r"left.width must be a whole number, got 1.5 \(float\)"),
                           ("left: [2024]", r"left must be a mapping, got \[2024\]"),
                           ("left: {name: [2024]}", r"left.name must be a string, got \[2024\]")]:
        with pytest.raises(ConfigError, match=sentence):
            merge(Tree(), read_written(text))


def test_law_a_tilde_is_the_home_folder_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/me")
    for changes in (parse_overrides(["left.place=~/x #1", "left.source=~", "left.name=~/x"]),
                    {"left": {"place": "~/x #1", "source": Path("~"), "name": "~/x"}}):
        leaf = merge(Tree(), changes).left
        assert (leaf.place, leaf.source, leaf.name) == ("/home/of/me/x #1", "/home/of/me", "~/x")
    assert merge(Tree(), {"left": {"place": Path("a") / "b", "source": None}}).left.place == "a/b"
    assert merge(Tree(), read_written("left: {source: ~}")).left.source is None  # YAML's null


def test_contract_overrides_that_cannot_both_hold():
    for pair in (["left=null", "left.width=1"], ["left.width=1", "left=3"], ["left=[1", "left.width=1"]):
        with pytest.raises(ConfigError, match="contradicts an earlier one"):
            parse_overrides(pair)


def test_law_overrides_of_a_group_and_of_its_fields_add_up():
    for words in (["left={width: 1, name: 3}", "left.rate=2"], ["left.rate=2", "left={width: 1, name: 3}"]):
        assert merge(Tree(), parse_overrides(words)).left == Leaf(width=1, rate=2.0, name="3")
    assert merge(Tree(), parse_overrides(["left.width=1", "left.width=2"])).left.width == 2


def test_contract_differences_name_the_keys():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 -> 3", "d: None -> 4"]


@dataclass(frozen=True)
class Step:
    over: float
    weights: tuple[float, ...]
    leaf: Leaf = field(default_factory=Leaf)

    def __post_init__(self):
        if self.over <= 0:
            raise ValueError(f"over must be positive, got {self.over}")


@dataclass(frozen=True)
class Stairs:
    steps: tuple[Step, ...] = ()
    last: Step | None = None


def test_law_a_dataclass_without_defaults_is_made_from_a_whole_mapping():
    stairs = Stairs((Step(0.5, (1.0,)), Step(0.25, (), Leaf(width=4))), Step(2.0, (3.0,)))
    assert merge(Stairs(), plain(stairs)) == stairs
    assert merge(Stairs(), yaml.safe_load(yaml.safe_dump(plain(stairs)))) == stairs
    assert merge(stairs, {"last": {"over": 7}}) == Stairs(stairs.steps, Step(7.0, (3.0,)))


@pytest.mark.parametrize("changes, sentence", [
    ({"steps": [{"over": 1}]}, r"steps\[0\] must be given as a whole, and lacks weights"),
    ({"last": {}}, "last must be given as a whole, and lacks over, weights"),
    ({"last": 3}, r"last must be a mapping, got 3 \(int\)"),
    ({"last": {"over": 0, "weights": []}}, "last: over must be positive, got 0.0"),
    ({"last": {"over": 1, "weight": []}}, r"unknown key last\.weight; did you mean last\.weights\?"),
    ({"steps": [{"over": 1, "weights": [], "leaf": {"width": -1}}]}, r"steps\[0\]\.leaf: width must not be negative"),
])
def test_contract_a_part_of_such_a_mapping_is_named(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        merge(Stairs(), changes)
