"""The shots: which training rows, in what order, with what labels; pure functions of task and seed."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from peftbench.errors import TaskError
from peftbench.spec.cell import Draw
from peftbench.tasks.task import Example, Row, Task, content

OWN_DRAW_VERSION = 2
"""Of the draw from own rows, told in their identity: what version 1 drew depended on the test file's name."""
LABEL_DRAW_VERSION = 2
"""Of the draw of random labels, told in their identity: version 1 drew the same for rows of one place in all tasks."""


def draw(task: Task, num_shots: int, seed: int, kind: Draw = "plain") -> tuple[Row, ...]:
    """Draw shots without replacement; k shots are the first k of k + 1 shots.

    Rows stand in the order of sha256(task, seed, row id): no random generator whose stream a new version of Python,
    or another caller, could shift. The user's own rows stand in the order of sha256(seed, what is in the row), whatever
    their file, their place in it and the task are called: one file of training rows has the same shots under each test
    file. Rows are one's own where they come by --train, by --template, or by a task TOML that is not the package's.

    Args:
        task: Shots are drawn from its training rows.
        num_shots: Number of shots.
        seed: Each seed draws its own shots.
        kind: "balanced" takes the first row of each label, then the second of each, and so on: labels differ in number
            by one at most, as long as the rows last, and they stand in strict rotation, in the order of their first
            rows. So one label comes last, next to the query, in all prompts of a seed; `ranks` has other orders. Where
            choices come from the row, a label is the place of the right one. "file" draws nothing: the shots are the
            first rows as they stand in their file, and the seed orders them, by what stands in them. "kmeans" is no
            draw, and a plain one here: the model chooses when it is loaded.

    Raises:
        TaskError: Fewer training rows than shots.
    """
    check_number(task, num_shots)
    if kind == "file":
        return tuple(_by_content(task, seed, num_shots))
    rows = _in_order(task, seed)
    return tuple(itertools.islice(_by_label(rows) if kind == "balanced" else rows, num_shots))


def pool(task: Task, seed: int) -> list[Row]:
    """List all training rows in the order of a plain draw, for what chooses among them."""
    return _in_order(task, seed)


def others(task: Task, shots: Sequence[Row], seed: int, number: int) -> tuple[Row, ...]:
    """Draw training rows that are no shots, in the order of a plain draw.

    Args:
        task: Rows are drawn from its training rows.
        shots: As `draw` gave them.
        seed: The draw's.
        number: How many there are at most.
    """
    drawn = {row.id for row in shots}
    return tuple(itertools.islice((row for row in _in_order(task, seed) if row.id not in drawn), number))


def _in_order(task: Task, seed: int) -> list[Row]:
    """Order all training rows by the seed."""
    if task.is_own:
        return _by_content(task, seed, len(task.train))
    return sorted(task.train, key=lambda row: _hash(task.name, seed, row.id))


def check_number(task: Task, num_rows: int, noun: str = "shots") -> None:
    """See that a task has training rows for all shots, or for what they are chosen from.

    Raises:
        TaskError: It has fewer.
    """
    if num_rows > len(task.train):
        option = "--shots" if noun == "shots" else "--pool"
        raise TaskError(
            f"{num_rows} {noun} were asked for, and task '{task.name}' has {len(task.train)} training rows",
            hint=f"{option} {len(task.train)} or fewer, or a longer file with --train",
        )


def _by_content(task: Task, seed: int, num_rows: int) -> list[Row]:
    """Order the first training rows by the seed and by what stands in them."""
    hashes = [_hash(key, seed) for key in task.train_keys[:num_rows]]
    return [row for _, row in sorted(zip(hashes, task.train, strict=False), key=_first)]


def _first(pair: tuple[bytes, Row]) -> bytes:
    return pair[0]


def _by_label(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the first row of each label, then the second of each, labels in the order of their first rows."""
    labels = dict.fromkeys(row.label for row in rows)
    columns = [[row for row in rows if row.label == label] for label in labels]
    for turn in itertools.zip_longest(*columns):
        yield from (row for row in turn if row is not None)


def ranks(shots: Sequence[Row], order: int, seed: int) -> list[int]:
    """Return each shot's place in another order of the same shots.

    Args:
        shots: In the order of the draw.
        order: 0 is that of the draw; others differ from it and from each other.
        seed: The draw's.

    Raises:
        AssertionError: There are fewer orders than that (see `spec.cell.IclOptions`).
    """
    orders = [list(range(len(shots)))]
    for attempt in itertools.count():
        if len(orders) > order:
            return orders[order]
        # Four shots have 24 orders, of which chance gives the last ones late: still less than a thousand attempts.
        assert attempt < 10_000 * (order + 1), f"{len(shots)} shots have no order {order}"
        places = sorted(range(len(shots)), key=lambda place: _hash("order", seed, attempt, shots[place].id))
        candidate = [places.index(place) for place in range(len(shots))]
        if candidate not in orders:
            orders.append(candidate)
    raise AssertionError


def relabel(example: Example, labels: Literal["gold", "random", "flipped"], seed: int) -> Example:
    """Replace a shot's label by another of its choices.

    Args:
        example: A rendered shot.
        labels: "gold" keeps the label; "random" draws each choice alike, the right one among them; "flipped" takes the
            next choice, and the first for the last, so that none stays right.
        seed: The draw's; a row gets the same label under every template with as many choices. It hangs on what stands
            in the row, too, so that tasks draw apart.

    Paper: 2202.12837, section 4.1 (random).
    """
    if labels == "gold":
        return example
    num_choices, label = len(example.choices), example.label + 1
    if labels == "random":
        assert example.row, "a template renders rows"
        label = int.from_bytes(_hash(f"label\0{content(example.row)}", seed))
    return replace(example, label=label % num_choices)


def _hash(name: str, *numbers: int) -> bytes:
    return hashlib.sha256("\0".join((name, *map(str, numbers))).encode()).digest()
