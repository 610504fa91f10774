"""What two readers could take for different things is refused, with its line; the rest means what it says."""

import pytest

from models.errors import BadFile
from models.files import parse_json, read_yaml, staged_folder
from tasks.setup.settings import PROJECT


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "a.yaml").write_text(text)
        return read_yaml(tmp_path / "a.yaml").value

    return read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2025-08-07", "2025-08-07"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("'010'", "010"),
        ('"1:30"', "1:30"),
        ("1e-5", 1e-5),
        ("1e5", 1e5),
        ("-3", -3),
        ("+0.5", 0.5),
        ("0", 0),
        ("True", True),
        ("~", None),
        ("", None),
        ("1.2.3", "1.2.3"),
        ("0123abc", "0123abc"),
    ],
)
def test_a_value_is_what_yaml_1_2_says(read, text, value):
    found = read(f"a: {text}")["a"]
    assert found == value and type(found) is type(value)


DOUBTFUL = [
    "010",
    "-010",
    "0o10",
    "0x1F",
    "0b11",
    "1_000",
    "1:30",
    "12:30:45",
    "08:00",
    ".inf",
    "-.INF",
    ".nan",
    "1e400",
]
DOUBTFUL += [
    "!!int 010",
    "!!float .inf",
    "!!int x",
    "9" * 31,
    '"\\0"',
    '"\\ud83d"',
    "!!timestamp 2020-01-01",
    "!!bool yes",
]


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_value_that_readers_take_differently_or_that_nothing_can_keep_is_refused_with_its_line(read, text):
    for place in ("a: 1\nb: {t}", "a: 1\n{t}: 2", "- 1\n- [{t}]"):
        with pytest.raises(BadFile, match=r"a\.yaml:2: ") as caught:
            read(place.replace("{t}", text))
        assert "\n" not in str(caught.value) and caught.value.line == 2


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: 2\na: 3", "x:\n  a: 1\n  a: 1", "- {a: 1,\n   b: 1,\n   a: 2}", "a: 1\n'b': 2\nb: 3", 'a: 1\n\n"a": 2'],
)
def test_a_key_that_stands_twice_is_refused_at_any_depth(read, text):
    with pytest.raises(BadFile, match=r"a\.yaml:3: the key '[ab]' is already on line [12]"):
        read(text)


def test_anchors_and_merge_keys_work_and_what_is_merged_may_be_given_anew(read):
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, y: 4}\nd: *b"
    assert read(text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 4}, "d": {"x": 1, "y": 3}}
    with pytest.raises(BadFile, match="'y' is already"):
        read("a: &a {x: 1}\nb: {<<: *a, y: 3, y: 4}")


def test_every_file_of_the_project_is_read(read):
    files = [*(PROJECT / "data").rglob("*.yaml"), *(PROJECT / "deployments").glob("*.yaml")]
    assert len(files) > 8 and all(read_yaml(file).value for file in files)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 1}', "'a' appears twice"),
        ('[{"x": {"b": 1, "c": 2, "b": 3}}]', "'b' appears twice"),
        ("NaN", "not a number"),
        ("[-Infinity]", "not a number"),
        ("1e400", "too large"),
        (r'["x\u0000"]', "NUL"),
        (r'{"\u0000": 1}', "NUL"),
        (r'{"a": ["\ud83d"]}', "surrogate"),
    ],
)
def test_json_that_says_two_things_or_cannot_be_kept_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parse_json(text)


def test_other_json_is_read_as_it_is():
    text = r'{"a": [1, 1e-400, "\\u0000", "\ud83d\ude00"], "b": {"a": null}}'
    assert parse_json(text) == {"a": [1, 0.0, "\\u0000", "\U0001f600"], "b": {"a": None}}


def test_a_folder_has_its_name_when_it_is_whole_and_what_a_killed_maker_left_is_removed(tmp_path):
    folder, others = tmp_path / "made", tmp_path / ".making-another-x"
    for left in (tmp_path / ".making-made-x", others):
        left.mkdir()
    with pytest.raises(KeyboardInterrupt), staged_folder(folder) as begun:
        begun.mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [others.name]
    with staged_folder(folder) as begun:
        begun.mkdir()
        (begun / "x").touch()
        assert not folder.exists()
    assert (folder / "x").exists() and {path.name for path in tmp_path.iterdir()} == {"made", others.name}
