"""The data that the repository gives as an example is what its README says, and no text is repeated in it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from peftbench.tasks.rows import read

FOLDER = Path(__file__).parents[1] / "examples" / "customer-messages"
CLASSES = ("delivery", "payment", "account", "product")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def grams(text: str, length: int) -> set[tuple[str, ...]]:
    sequence = words(text)
    return {tuple(sequence[start : start + length]) for start in range(len(sequence) - length + 1)}


def messages() -> list[str]:
    return [row["text"] for name in ("train", "test") for row in read(FOLDER / f"{name}.csv")]


@pytest.mark.parametrize(("name", "count"), [("train", 15), ("test", 50)])
def test_each_class_has_as_many_messages(name, count):
    assert Counter(row["label"] for row in read(FOLDER / f"{name}.csv")) == dict.fromkeys(CLASSES, count)


def test_no_message_comes_twice_whatever_its_punctuation():
    counts = Counter(" ".join(words(text)) for text in messages())
    assert counts.most_common(1)[0][1] == 1


def test_no_two_messages_share_five_words_in_a_row():
    counts = Counter(gram for text in messages() for gram in grams(text, 5))
    assert [gram for gram, count in counts.items() if count > 1] == []


def test_the_task_file_reads_these_rows_with_its_templates():
    task = load(TaskSpec(name=str(FOLDER / "task.toml")))
    assert task.classes == CLASSES
    assert (len(task.train), len(task.test), len(task.templates)) == (60, 200, 4)
    assert task.chance == 0.25
    for template in task.templates:
        example = template.render(task.test[0])
        assert task.test[0].fields["text"] in example.input
        assert len(set(example.choices)) == 4
