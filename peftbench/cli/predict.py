"""`peftbench predict`: adapters, or the shots of a record, on new rows."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from peftbench.cli.options import FLAG, DeviceMap, ServerOptions, Threads
from peftbench.errors import RecordError, RunError, TaskError
from peftbench.spec import limits

if TYPE_CHECKING:
    from peftbench.cli.progress import Watch
    from peftbench.flow.engines.processes import Processes
    from peftbench.flow.predict import Prediction, RowPredictor
    from peftbench.flow.usage import Usage
    from peftbench.spec.cell import Server

    PredictRows = Callable[[Iterator[dict[str, Any]], int], Iterator[list[Prediction]]]

NUM_SHOWN = 5
STDIN = Path("-")


def predict(
    *,
    input: Annotated[Path, Option(help="Rows: CSV, JSONL or Parquet; - reads JSONL from stdin.", metavar="FILE")],
    adapter: Annotated[
        list[str] | None,
        Option(help="Folder that `tune` wrote, or NAME=FOLDER; several share their batches.", metavar="FOLDER"),
    ] = None,
    shots_from: Annotated[
        Path | None,
        Option(
            help="Instead: a record of `icl`, whose shots stand before each row, or of a classifier.",
            metavar="RECORD",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="File to be written, .jsonl, .csv or .parquet; without it, JSONL on stdout.", metavar="FILE"),
    ] = None,
    template: Annotated[
        int | None, Option(help="Number of the template. \\[default: the first]", metavar="N", min=0)
    ] = None,
    adapter_column: Annotated[
        str, Option(help="Column that names each row's adapter, where there are several.", metavar="NAME")
    ] = "adapter",
    model: Annotated[str | None, Option(help="Where the model is now, if not where it was.", metavar="NAME")] = None,
    server: ServerOptions,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...", metavar="NAME")] = "auto",
    device_map: DeviceMap = None,
    threads: Threads = None,
    jobs: Annotated[
        int,
        Option(help="Predict in so many processes, which share the threads.", metavar="N", min=1, max=limits.MAX_JOBS),
    ] = 1,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, no remarks.", metavar=FLAG)] = False,
) -> None:
    """Predict the rows of a file with adapters, or with a record's shots."""
    from peftbench.cli.progress import loading, watch

    progress = watch(quiet=quiet)
    with _processes(jobs) as pool:
        with loading(progress):
            from peftbench.flow import predict as flow
            from peftbench.flow.engines.rows import Source, predicted
            from peftbench.models.threads import THREADS
        THREADS.number = threads
        named = _named(adapter or [], shots_from)
        usages = [flow.open_usage(path) for path in named.values()]
        flow.check_together(list(named), usages)
        sink = None if output is None else _sink(output, input, named, usages, template, adapter_column)
        with sink or nullcontext():
            where: dict[str, Any] = {"model": model, "device": device, "device_map": device_map}
            where["server"] = _server(server.table(model or usages[0].model))
            if pool is None:
                with progress.waiting("loading the model"):
                    predictor = flow.load(named, usages, template, adapter_column, **where)
                predict_rows = partial(_predicted, predictor, is_table=_is_table(input))
            else:
                source = Source(named, template, adapter_column, where, threads, pool.share, Path.cwd())
                predict_rows = partial(
                    predicted, pool, source, size=flow.CHUNK, is_table=_is_table(input), say=progress.say
                )
            _carry_out(predict_rows, input, sink, progress)


@contextmanager
def _processes(number: int) -> "Iterator[Processes | None]":
    """Begin processes, which import torch while this one does, and end them; None where this one is all."""
    if number == 1:
        yield None
        return
    from peftbench.flow.engines import rows
    from peftbench.flow.engines.processes import Processes

    with closing(Processes(number, rows.predict, rows.LOADS)) as pool:
        yield pool


def _server(table: dict[str, Any] | None) -> "Server | None":
    from peftbench.spec.cell import Server
    from peftbench.spec.settings import checked

    return None if table is None else checked(Server, table, "options", RecordError)


def _named(adapters: Sequence[str], record: Path | None) -> dict[str, Path]:
    """Name each adapter's folder, by NAME of NAME=FOLDER or by the folder, or the record by its file."""
    if bool(adapters) == (record is not None):
        hint = "`peftbench tune` writes results/adapters/ID, `peftbench icl` writes results/records/ID.json"
        raise RecordError("predictions take either --adapter or --shots-from", hint=hint)
    if record is not None:
        return {record.stem: record}
    named: dict[str, Path] = {}
    for text in adapters:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        key = name if equals else path.name
        if key in named:
            raise RecordError(f"two adapters are called '{key}'", hint="--adapter NAME=FOLDER gives one a name")
        named[key] = path
    return named


def _sink(
    output: Path, rows: Path, named: dict[str, Path], usages: Sequence["Usage"], template: int | None, column: str
) -> Any:
    """Open the output; a part of it that follows from the same adapters, rows and template is continued."""
    from peftbench.adapters import saved
    from peftbench.classifiers import saved as classifiers
    from peftbench.store.growing import CHOSEN, WRITTEN, Output

    columns = CHOSEN if usages[0].decoding is None else WRITTEN
    if rows == STDIN:
        return Output(output, None, columns)
    digest = hashlib.sha256(json.dumps([template, column]).encode())
    for (name, path), used in zip(named.items(), usages, strict=True):
        card = ""
        if path.is_dir():
            card = (saved if used.classifier is None else classifiers).read(path).model_dump_json()
        digest.update(f"{name}\0{used.text()}\0{card}\0".encode())
    try:
        with rows.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise RecordError(f"cannot read '{rows}': {error.strerror}", hint="--input FILE, or - for stdin") from None
    return Output(output, digest.hexdigest(), columns)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    from peftbench.tasks import rows

    if path != STDIN:
        yield from rows.stream(path)
        return
    try:
        yield from rows.objects(sys.stdin)
    except ValueError as error:
        raise TaskError(f"stdin is no JSONL: {error}", hint=rows.EXPECTED[".jsonl"]) from None


def _is_table(path: Path) -> bool:
    """Whether all rows have the columns of the first one; lines of JSON may differ in theirs."""
    return path.suffix.lower() in (".csv", ".tsv", ".parquet")


def _predicted(
    predictor: "RowPredictor", rows: Iterator[dict[str, Any]], first: int, *, is_table: bool
) -> "Iterator[list[Prediction]]":
    """Predict rows in this process; a table's columns are checked against the template's."""
    head = list(islice(rows, 1))
    for row in head if is_table else ():
        predictor.check(row)
    return predictor.predict(chain(head, rows), first)


def _carry_out(predict_rows: "PredictRows", source: Path, sink: Any, progress: "Watch") -> None:
    from peftbench.tasks import rows

    num_done = sink.num_rows if sink else 0
    total = 0
    if source != STDIN:  # lines are all read: a broken one shows before anything is computed
        total = rows.count(source) if source.suffix.lower() == ".parquet" else sum(1 for _ in rows.stream(source))
    if num_done:
        progress.say(f"{num_done:,} of {total:,} rows are there already; going on after them")
    faults: list[Prediction] = []
    started, num_new, num_faults = time.perf_counter(), 0, 0
    with progress.stage("predicting", max(0, total - num_done)) as advance:
        for chunk in predict_rows(islice(_rows(source), num_done, None), num_done + 1):
            table = [_shown(prediction) for prediction in chunk]
            if sink is None:
                for row in table:
                    typer.echo(json.dumps(row, ensure_ascii=False))
            else:
                sink.append(table)
            faults += [prediction for prediction in chunk if prediction.fault][: NUM_SHOWN - len(faults)]
            num_faults += sum(prediction.fault is not None for prediction in chunk)
            num_new += len(chunk)
            advance(len(chunk), "")
    rate = num_new / (time.perf_counter() - started)
    if not num_done + num_new:
        raise TaskError(f"'{source}' has no rows", hint="there is nothing to predict")
    if sink is not None:
        sink.finish()
        progress.say(f"{sink.num_rows:,} rows in {sink.path}, {rate:,.0f} rows/s")
    _complain(faults, sink.num_faults if sink else num_faults, num_done + num_new)


def _shown(prediction: "Prediction") -> dict[str, Any]:
    row: dict[str, Any] = {"row": prediction.row}
    if prediction.adapter is not None:
        row["adapter"] = prediction.adapter
    if prediction.fault is not None:
        return row | {"error": prediction.fault}
    if prediction.is_cut is not None:
        return row | {"prediction": prediction.answer, "is_cut": prediction.is_cut}
    scores = {choice: round(score, 6) for choice, score in prediction.scores.items()}
    return row | {"prediction": prediction.answer, "scores": scores}


def _complain(faults: Sequence["Prediction"], num_faults: int, num_rows: int) -> None:
    if not num_faults:
        return
    texts = [f"row {fault.row}: {fault.fault}" for fault in faults]
    if num_faults > len(texts):
        texts.append(f"{'and ' if texts else ''}{num_faults - len(texts)} more")
    raise RunError(
        f"{num_faults} of {num_rows} rows have no prediction: {'; '.join(texts)}",
        hint="the others are done; the output says why under 'error'",
    )
