"""`peftbench submit`: a leaderboard's rows answered, in the folder that it wants."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from peftbench import registry
from peftbench.cli.options import FLAG, RUNNING, DataFolder, Threads
from peftbench.errors import RecordError, TaskError

if TYPE_CHECKING:
    from peftbench.cli.progress import Watch
    from peftbench.flow.usage import Usage
    from peftbench.tasks.leaderboards.base import Answers, Leaderboard, OpenTask

KEEP = "`peftbench run RECIPE --keep DIR` and `peftbench tune --keep DIR` make them from all labelled rows"


def submit(
    leaderboard: Annotated[str, Argument(help="raft.", metavar="NAME")],
    folder: Annotated[Path, Argument(help="Folder to be written, or checked.", metavar="OUT")],
    adapter: Annotated[
        list[Path] | None,
        Option(
            help="Folder of what was learned for a task, or of such folders, as `run --keep` and `tune --keep` write.",
            metavar="FOLDER",
        ),
    ] = None,
    check: Annotated[
        bool, Option("--check", help="Write nothing: check a folder by the leaderboard's rules.", metavar=FLAG)
    ] = False,
    data: DataFolder = None,
    model: Annotated[str | None, Option(help="Where the model is now, if not where it was.", metavar="NAME")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...", metavar="NAME", rich_help_panel=RUNNING)] = "auto",
    threads: Threads = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, no remarks.", metavar=FLAG)] = False,
) -> None:
    """Answer a leaderboard's rows, whose labels nobody shows, and write the folder that it scores.

    All is checked before anything is written: each row once, and answers that are classes of the task.
    """
    from peftbench.cli.progress import watch
    from peftbench.tasks.leaderboards import base

    board = registry.leaderboard(leaderboard)
    progress = watch(quiet=quiet)
    if check == bool(adapter):
        hint = f"--adapter FOLDER for what learned each task, or --check for a folder that is there; {KEEP}"
        raise RecordError("a submission is made with --adapter, or checked with --check", hint=hint)
    if not check and os.path.lexists(folder):
        raise RecordError(f"'{folder}' is there already", hint="OUT is a new folder; --check checks what is there")
    usages = {} if check else _by_task(board, adapter or [])
    tasks = {name: base.read(board, name, data) for name in board.tasks}
    for task in tasks.values():
        if remark := base.remark(board, task):
            progress.say(remark)
    if check:
        base.check(board, folder, tasks)
    else:
        answers = _answers(board, tasks, usages, model, device, threads, progress)
        base.write(board, folder, answers, tasks)
    total = sum(len(task.ids) for task in tasks.values())
    progress.say(f"{folder}: {len(tasks)} tasks, {total:,} rows, each answered once by a class of its task")


def _by_task(board: "Leaderboard", folders: Sequence[Path]) -> dict[str, tuple[Path, "Usage"]]:
    """Find what learned each task: task -> where it is, and what lies beside it.

    Raises:
        RecordError: A folder has nothing of the kind, or a task of the leaderboard has none, or several.
    """
    from peftbench.flow import predict

    learned: dict[str, list[tuple[Path, Usage]]] = {}
    for path in (path for folder in folders for path in _learned(folder)):
        usage = predict.open_usage(path)
        learned.setdefault(usage.task, []).append((path, usage))
    several = [name for name, parts in learned.items() if len(parts) > 1]
    parts = {
        "nothing learned": [name for name in board.tasks if name not in learned],
        "none of its tasks is": [name for name in learned if name not in board.tasks],
        "several things learned": several,
    }
    faults = [f"{text} {', '.join(names)}" for text, names in parts.items() if names]
    if faults:
        raise RecordError(f"{board.name} takes one thing learned for each task: {'; '.join(faults)}", hint=KEEP)
    return {name: part for name, (part,) in learned.items()}


def _learned(folder: Path) -> list[Path]:
    """List what was learned in a folder: itself, or its folders; of prompts and classifiers the file beside them."""
    from peftbench.adapters import saved as adapters
    from peftbench.classifiers import saved as classifiers
    from peftbench.flow.usage import FILE
    from peftbench.learners import pet_folder

    inside = [folder] if (folder / FILE).is_file() else sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not inside:
        raise RecordError(f"'{folder}' has nothing that was learned: no {FILE}", hint=KEEP)
    cards = (adapters.CARD, classifiers.CARD, pet_folder.CARD)
    return [path if any((path / card).is_file() for card in cards) else path / FILE for path in inside]


def _answers(
    board: "Leaderboard",
    tasks: Mapping[str, "OpenTask"],
    learned: Mapping[str, tuple[Path, "Usage"]],
    model: str | None,
    device: str,
    threads: int | None,
    progress: "Watch",
) -> "dict[str, Answers]":
    """Answer the rows of all tasks.

    Raises:
        PeftbenchError: A model or an adapter that cannot be used; a row that cannot be answered.
    """
    from peftbench.cli.progress import loading

    with loading(progress):
        from peftbench.flow import predict
        from peftbench.models.threads import THREADS
    THREADS.number = threads
    answers: dict[str, Answers] = {}
    for name in board.tasks:
        path, usage = learned[name]
        with progress.waiting(f"{name}: loading the model"):
            predictor = predict.load({name: path}, [usage], None, "", model=model, device=device)
        task, predictions = tasks[name], []
        with progress.stage(f"{name}: answering", len(task.rows)) as advance:
            for chunk in predictor.predict(task.rows):
                predictions += chunk
                advance(len(chunk), "")
        for prediction in predictions:
            if prediction.fault is not None:
                message = f"{name}: row {board.id} {task.ids[prediction.row - 1]} has no answer: {prediction.fault}"
                raise TaskError(message, hint="nothing was written")
        answers[name] = {id: str(part.answer) for id, part in zip(task.ids, predictions, strict=True)}
    return answers
