import time
from pathlib import Path

import pytest

from peftbench.errors import TaskError
from peftbench.spec import limits
from peftbench.tasks.formats import yaml_file
from peftbench.tasks.formats.yaml_file import Function

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
HOSTILE = {
    "constructor for the tag .*os.system": "task: !!python/object/apply:os.system ['touch OWNED']",
    "could not determine a constructor for the tag '!Foo'": "task: !Foo {a: 1}",
    "more than 100,000 values": LAUGHS,
    "the alias 'a' of nothing that stands before it": "task: &a [*a]",
    "deeper than 32": "task: " + "[" * 100_000,
    "tables and lists in each other, deeper": "a: " + "{a: " * 50_000,
    "a text of 1,500,000 characters": "task: " + "x" * 1_500_000,
    "more than 2,000,000 bytes": "# " + "x" * 2_000_000,
    "more than 100,000 val": "l: [" + "{}," * 600_000 + "]",
    "'task' has two values": "task: a\ntask: b",
    "no table of names": "- a\n- b",
    "no table": "",
    "invalid start byte": "\udcff",
    "a table or a list for a name": "{a: b}: 3",
    "but found another document": "task: a\n---\ntask: b",
    "found character that cannot start any token": "task:\n\t- x",
    "bytes, where text is needed": "task: !!binary aGVsbG8=",
    "groupdict": "task: !!timestamp never",
    "Exceeds the limit": "n: " + "9" * 5000,
    "a whole number beyond": "n: " + "9:" * 2000 + "9",
    "expected a scalar node": "task: !function {a: b}",
}


def read(folder: Path, text: str) -> dict:
    path = folder / "task.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    return yaml_file.read(path)


@pytest.mark.parametrize("message", HOSTILE)
def test_what_is_hostile_is_one_line_with_a_hint_in_less_than_two_seconds(tmp_path, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises(TaskError, match=f"task.yaml' is not valid YAML: .*{message}") as error:
        read(tmp_path, HOSTILE[message])
    assert time.process_time() - started < 2
    assert "\n" not in error.value.message
    assert len(error.value.message) < 500
    assert error.value.hint == yaml_file.HINT
    assert not (tmp_path / "OWNED").exists()


def test_the_tags_of_both_projects_are_tables_and_names(tmp_path):
    text = "a: !Template {x: !TemplateMetadata {y: 1}}\nf: !function utils.run\nm: &m [1]\nn: *m\nd: 1\nd: 1\n"
    assert read(tmp_path, text) == {
        "a": {"x": {"y": 1}}, "f": Function("utils.run"), "m": [1], "n": [1], "d": 1
    }  # fmt: skip


def test_without_the_library_in_c_the_same_is_read(tmp_path, monkeypatch):
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert read(tmp_path, "task: !Template {a: 'b'}") == {"task": {"a": "b"}}
    with pytest.raises(TaskError, match="for the tag '!Foo'"):
        read(tmp_path, "task: !Foo {a: 1}")


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(TaskError, match=r"cannot read task .*: No such file"):
        yaml_file.read(tmp_path / "none.yaml")


def test_the_limits_leave_room_for_what_is_in_use():
    # The largest files of the two projects have 62,570 bytes and 1,500 values.
    assert limits.MAX_YAML_BYTES > 10 * 62_570
