"""What a worker does with a job."""

import os
from collections.abc import Iterator
from dataclasses import asdict

from peftbench.errors import ModelError, PeftbenchError
from peftbench.flow import failures
from peftbench.flow.engines.engine import Answer, Job
from peftbench.flow.engines.journal import Journal
from peftbench.flow.failures import Failure
from peftbench.flow.run import Outcome, attempts
from peftbench.models.threads import THREADS
from peftbench.store.results import Store


def work(job: Job) -> list[Answer]:
    """Run a job's cells, and write down in its journal what came of each."""
    journal = Journal(job.journal)
    answers = []
    for answer in _answers(job, journal):
        journal.answer(answer)
        answers.append(answer)
    return answers


def _answers(job: Job, journal: Journal) -> Iterator[Answer]:
    THREADS.number, THREADS.most = job.threads, job.share
    left = dict(enumerate(job.cells))
    try:
        store = _store(job)
        for outcome in attempts(job.cells, store, journal, force=job.force, is_timed=True):
            yield _answer(outcome)
            del left[outcome.place]
    except PeftbenchError as error:
        yield {"error": [type(error).__name__, error.message, error.hint]}
    except Exception as error:  # the model was not loaded: no cell of the batch can be run
        for place, cell in left.items():
            failure = Failure.of(error, cell, place=place)
            failures.write(failure, store)
            yield _answer(failure)


def _store(job: Job) -> Store:
    """Go to the folder that paths start from.

    Raises:
        ModelError: It is not there.
    """
    try:
        os.chdir(job.folder)
    except OSError as error:
        message = f"'{job.folder}' is not on {os.uname().nodename}: {error.strerror}"
        raise ModelError(message, hint="start from a folder that all machines share") from None
    return Store(job.results)


def _answer(outcome: Outcome | Failure) -> Answer:
    if isinstance(outcome, Failure):
        return {"place": outcome.place, "failure": asdict(outcome)}
    record_id = outcome.record.id
    return {"place": outcome.place, "id": record_id, "is_new": outcome.is_new, "seconds": outcome.seconds}
