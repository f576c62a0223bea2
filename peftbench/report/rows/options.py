"""A record's settings as somebody types them, and the command that makes it again."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from peftbench.registry import GROUP_TASKS, task_files
from peftbench.report.rows import setting
from peftbench.report.rows.setting import Setting
from peftbench.spec.cell import SERVED, Cell, IclOptions, Scoring
from peftbench.store.record import Record
from peftbench.tasks import own

PLAIN = ("revision", "dtype", "load", "templates", "limit", "draw")
"""Fields of a cell with an option of their own name."""
OF_SPLIT = ("folds", "group")
"""What all folds of a split share; options of their own names, too."""
NOT_TYPED = ("order",)
"""Options of in-context learning that are typed for all records of a row together, as --orders."""
DEFAULT_GROUP = "lab"
DEFAULT_SHOTS = 32
OWN_DATA = ("--train", "FILE", "--test", "FILE", "--template", "TEXT", "--choices", "A,B")
"""Of one's own rows, path and template are no part of a record."""
OWN_POOL = tuple(word for place, word in enumerate(OWN_DATA) if place not in (2, 3))
"""The same where folds are tested, and no test rows."""
SERVER = ["--server", "URL", "--tokenizer", "NAME"]
"""Of a served model no record holds them."""
YAML_FAMILIES = ("promptsource", "lm-eval")
"""Of tasks from other people's files."""


def of_record(record: Record) -> list[Setting]:
    """List what has to be typed so that the same cell is run again, defaults left out.

    What a method or a training defaults to depends on the method and the model's folder, which no record holds: all of
    their settings are listed.
    """
    return [*shared(record), *_icl(record), *_tuning(record)]


def shared(record: Record) -> list[Setting]:
    """List what any learner needs so that it sees the same rows and weights and scores alike, defaults left out."""
    identity, defaults = setting.whole(record.identity), {name: Cell.model_fields[name].default for name in PLAIN}
    plain = {name: identity.get(name, default) for name, default in defaults.items()}
    split = {name: identity.get(name) for name in OF_SPLIT}
    end = "eos" if record.model.is_encoder_decoder else "none"
    scoring = Scoring(end=end).model_dump(mode="json")
    return [
        *_changed((), plain | split, defaults),
        *_changed(("scoring",), identity.get("scoring", {}), scoring),
    ]


def again(records: Sequence[Record]) -> str:
    """Write the command that makes records of one task again, those of the same cells but for the seed and the order.

    Args:
        records: At least one; the first one says all the rest.
    """
    first = records[0]
    words = [
        *learner(first.learned.method, first.model.name, setting.shots(first)),
        *learned_data([first.task.name], first)[0],
    ]
    return shlex.join([*words, *pooled(records, sorted({record.seed for record in records}))])


def pooled(records: Sequence[Record], seeds: Sequence[int]) -> list[str]:
    """List the words for what records share, their number of orders and some seeds."""
    words = typed(of_record(records[0]))
    num_orders = 1 + max(setting.order(record) for record in records)
    if num_orders > 1:
        words += ["--orders", str(num_orders)]
    if list(seeds) != [0]:
        words += ["--seeds", ",".join(map(str, seeds))]
    return words


def learner(method: str | None, model: str, num_shots: int) -> list[str]:
    """List the words that say who learns from how many shots."""
    is_served = model.startswith(SERVED)
    if method is None:
        server = SERVER if is_served else []
        return ["peftbench", "icl", "--model", model, *server, "--shots", str(num_shots)]
    model = "MODEL" if is_served else model  # a served model cannot be tuned
    shots = [] if num_shots == DEFAULT_SHOTS else ["--shots", str(num_shots)]
    return ["peftbench", "tune", "--model", model, "--method", method, *shots]


def data(names: Sequence[str], record: Record) -> list[list[str]]:
    """List the words that stand for some tasks; of one's own rows or task files, with what has to be filled in."""
    if record.task.family in YAML_FAMILIES:
        return [["--task", f"PATH/{name}.yaml"] for name in names]
    if record.task.family != own.FAMILY:
        return task_options(names)
    files = OWN_POOL if "folds" in setting.whole(record.identity) else OWN_DATA
    return [["--task", name, *files] for name in names]


def learned_data(names: Sequence[str], record: Record) -> list[list[str]]:
    """List the words that stand for some tasks which what a record learned answers: perhaps on another task."""
    source = record.identity.get("source_task")
    if source is None:
        return data(names, record)
    targets = ",".join(map(_typed_task, names))
    return [[*words, "--transfer-to", targets] for words in data([source], record)]


def task_options(names: Sequence[str]) -> list[list[str]]:
    """List the words that stand for some tasks: those of a group, none for the default one; or those of each task.

    A task that does not come with the package is somebody's file, whose path no record holds.
    """
    for group, members in GROUP_TASKS.items():
        if set(members) == set(names):
            return [[] if group == DEFAULT_GROUP else ["--task", group]]
    return [["--task", _typed_task(name)] for name in names]


def _typed_task(name: str) -> str:
    return name if name in task_files() else f"PATH/{name}.toml"


def typed(settings: Iterable[Setting]) -> list[str]:
    """List the words for some settings."""
    return [word for part in settings for word in part.words]


def _icl(record: Record) -> Iterator[Setting]:
    options = {name: value for name, value in setting.icl(record).items() if name not in NOT_TYPED}
    yield from _changed(("icl",), options, IclOptions().model_dump(mode="json"))


def _tuning(record: Record) -> Iterator[Setting]:
    for name, value in setting.method_config(record).items():
        yield Setting(("method_config", name), value)
    for name, value in (record.identity.get("training") or {}).items():
        yield Setting(("training", name), value)
    if record.learned.start_from:
        yield Setting(("start_from",), record.learned.start_from.path)
    if record.learned.sweep:
        # Around the rate that `training` has.
        yield Setting(("sweep",), "lr")


def _changed(path: tuple[str, ...], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Setting]:
    for name, value in values.items():
        if value != defaults.get(name):
            yield Setting((*path, name), value)
