"""Rows that several processes predict: in their order, what was lost again, few of them in memory."""

import random
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import RunError, TaskError
from peftbench.flow.engines import rows
from peftbench.flow.engines.rows import AHEAD, Source, predicted

SOURCE = Source({"": Path("adapter")}, None, "adapter", {}, None, 1, Path())
SIZE = 3


class Pool:
    """Threads that answer with the numbers of rows, after a while; `dies`: first row of a chunk -> how often."""

    def __init__(self, number, dies=()):
        self.num_workers, self.running, self.most, self.heads = number, 0, 0, []
        self._dies, self._threads, self._lock = dict(dies), ThreadPoolExecutor(10), threading.Lock()

    def submit(self, chunk):
        self.running += 1
        self.most = max(self.most, self.running)
        self.heads += [chunk.first] if chunk.is_head else []
        return self._threads.submit(self._answer, chunk)

    def _answer(self, chunk):
        time.sleep(random.Random(chunk.first).random() / 100)
        with self._lock:
            self.running -= 1
            if self._dies.get(chunk.first, 0):
                self._dies[chunk.first] -= 1
                raise BrokenExecutor("killed")
        return [f"{chunk.first + place}: {row['text']}" for place, row in enumerate(chunk.rows)]

    def close(self):
        self._threads.shutdown()


def fields(number, read, fault=None):
    for place in range(number):
        read.append(place)
        yield {"text": place}
    if fault is not None:
        raise fault


def said_of(pool, number, *, fault=None, first=1, is_table=False):
    """Predict rows; what came, in its order, what was said, and the error in the end."""
    texts, said, read, error = [], [], [], None
    with closing(pool):
        try:
            for chunk in predicted(
                pool, SOURCE, fields(number, read, fault), first, size=SIZE, is_table=is_table, say=said.append
            ):
                texts += chunk
                assert len(read) - len(texts) <= (AHEAD * pool.num_workers + 1) * SIZE
        except (RunError, TaskError) as caught:
            error = caught
    return texts, said, error


def expected(number, first=1):
    return [f"{first + place}: {place}" for place in range(number)]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 30, 50])
@pytest.mark.parametrize("num_processes", [1, 2, 5])
def test_rows_come_in_their_order_whoever_is_first(number, num_processes):
    pool = Pool(num_processes)
    assert said_of(pool, number, first=7, is_table=True) == (expected(number, 7), [], None)
    assert pool.most <= num_processes
    assert pool.heads == ([7] if number else [])


def test_what_a_killed_process_had_is_predicted_again():
    texts, said, error = said_of(Pool(2, {1: 1, 10: 1}), 20)
    assert (texts, error) == (expected(20), None)
    assert sorted(said) == [f"a process was killed while it predicted rows {span}" for span in ("1 to 3", "10 to 12")]


def test_rows_that_two_processes_were_killed_with_end_it_after_those_before_them():
    texts, _, error = said_of(Pool(3, {10: 2}), 40)
    assert texts == expected(9)
    assert error.message == "2 processes were killed while they predicted rows 10 to 12"
    assert "fewer --jobs" in error.hint
    assert error.exit_code == 1


def test_a_fault_among_the_rows_comes_after_the_rows_before_it():
    fault = TaskError("stdin is no JSONL: line 11")
    assert said_of(Pool(4), 10, fault=fault) == (expected(9), [], fault)


def test_a_process_loads_what_it_needs_once(monkeypatch):
    loaded, checked = [], []

    class Predictor:
        def check(self, row):
            checked.append(row)

        def predict(self, given, first):
            yield [f"{first}: {len(given)}"]

    monkeypatch.setattr(rows, "_LOADED", [])
    monkeypatch.setattr(rows, "_load", lambda source: loaded.append(source) or Predictor())
    other = Source({"": Path("other")}, None, "adapter", {}, None, 1, Path())
    for source, first in ((SOURCE, 1), (SOURCE, 3), (other, 1)):
        assert rows.predict(rows.Chunk(source, first, ({}, {}), is_head=first == 1)) == [f"{first}: 2"]
    assert loaded == [SOURCE, other]
    assert checked == [{}, {}]
