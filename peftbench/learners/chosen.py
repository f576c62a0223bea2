"""Chosen shots: before each query stand the training rows that are most like it, the most similar one last."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from peftbench.errors import TaskError
from peftbench.learners.fitting import SLACK, Fitting
from peftbench.learners.predictor import Reading, Round
from peftbench.models.backbone import Backbone
from peftbench.scoring import generate
from peftbench.scoring.encoding import (
    Encoded,
    cut_input,
    encode,
    layout_of,
    num_shot_tokens,
    num_tokens,
    num_tokens_of,
    num_virtual_tokens,
)
from peftbench.scoring.layout import Layout, Shot
from peftbench.scoring.score import Scores, score_encoded
from peftbench.scoring.work import SelectionWork, Work
from peftbench.selection.base import Neighbours, Selector
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.spec.decoding import Decoding
from peftbench.tasks.shots import ranks, relabel
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

MOST_ROWS = 1024
"""Rows whose tokens are counted to say what a shot has on the average."""


class ChosenPredictor(Fitting):
    """Scores each query after shots of its own, chosen by a selector from the training rows.

    What is compared is the input as the template renders it, whole, of the query and of each row. The most similar shot
    stands last, next to the query; in other orders (`IclOptions.order`) chance decides. Where not all fit, the least
    similar ones are left out, as many for all queries. A content-free query stands after its row's shots.

    Args:
        backbone: The model, as it is; nothing is attached.
        template: Renders rows and queries, without a description.
        rows: Shots are chosen from them; the template reads them all.
        selector: How similar rows and queries are.
        options: Order and labels of the shots, and whether some are left out where they do not all fit.
        scoring: How choices are scored.
        num_shots: How many are chosen for each query.
        seed: Other orders and random labels follow from it.
        description: Text before the shots.

    Paper: 2101.06804, section 3 (nearest rows as shots).
    """

    is_chosen = True
    before: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        template: Template,
        rows: Sequence[Row],
        selector: Selector,
        options: IclOptions,
        scoring: Scoring,
        num_shots: int,
        seed: int,
        description: str = "",
    ) -> None:
        super().__init__(backbone, template.name, options, num_shots, description)
        self._renders, self._rows, self._selector, self._scoring, self._seed = template, rows, selector, scoring, seed
        self._num_asked = num_shots
        self._chosen: dict[str, list[int]] = {}
        self._seconds = 0.0

    @property
    def shot_tokens(self) -> int:
        """Tokens of all rows that shots are chosen from, as shots, without what separates them."""
        return sum(num_tokens_of(self._backbone, self._texts))

    @property
    def shot_bytes(self) -> int:
        """Bytes of the same rows' text, UTF-8."""
        return sum(len(text.encode()) for text in self._texts)

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the rows that were chosen for some query."""
        used = {row for rows in self._chosen.values() for row in rows}
        return sum(self._written[row].num_cut_tokens for row in used)

    def shown(self, example: Example, num_shots: int | None = None) -> list[Shot]:
        """Return the shots that stand before a query, in their order; the first one after the description.

        Args:
            example: The query, with its row.
            num_shots: How many of the most similar ones; None for all that fit.

        Raises:
            TaskError: As `choose`.
        """
        self.choose([example])
        nearest = self._chosen[self._text_of(example)]
        places = ranks([self._rows[row] for row in nearest], self._options.order, self._seed)
        staying = range(self.num_shots if num_shots is None else num_shots)
        # As chosen, the most similar one has the first place, and it is to stand last.
        in_order = sorted(staying, key=places.__getitem__, reverse=True)
        shots = [self._written[nearest[rank]].shot for rank in in_order]
        return [shots[0].after(self._description), *shots[1:]] if shots else []

    def choose(self, examples: Sequence[Example]) -> None:
        """Choose rows for queries that have none yet.

        Raises:
            TaskError: All rows have the same text, or too few have another text than a query.
        """
        new = {text: example for example in examples if (text := self._text_of(example)) not in self._chosen}
        if not new:
            return
        neighbours, started = self._neighbours, time.perf_counter()
        nearest = neighbours.nearest(list(new), self._num_asked)
        self._seconds += time.perf_counter() - started
        for (text, example), rows in zip(new.items(), nearest, strict=True):
            if len(rows) < self._num_asked:
                message = (
                    f"{len(rows)} of {len(self._rows)} training rows have another text than row {example.row_id + 1} "
                    f"in template '{self._template}', and {self._num_asked} shots were asked for"
                )
                raise TaskError(message, hint=f"--shots {len(rows)} or fewer, or more rows with --train")
            self._chosen[text] = rows

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices after its own shots.

        Raises:
            ModelError: A prompt is longer than the model's positions. Also what `scoring.score.score` raises.
            TaskError: As `choose`.
        """
        if not examples:
            return Scores([], [], Work())
        self.choose(examples)
        started = time.perf_counter()
        encoded = self._encoded(examples, self.num_shots)
        shot_tokens = [num_shot_tokens(self._backbone, self._scoring, self.shown(example)) for example in examples]
        cache = self._scoring.cache
        scores = score_encoded(
            self._backbone, examples, encoded, shot_tokens, cache=cache, is_trie=True, progress=progress
        )
        return replace(scores, seconds=time.perf_counter() - started, selection=self._work(examples))

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[generate.Output]:
        """Write an answer to each example after its own shots.

        Raises:
            TaskError: As `choose`.
        """
        self.choose(examples)
        prompts = [
            ids
            for example in examples
            for ids in generate.contexts(self._backbone, [example], self._scoring, self.shown(example))
        ]
        return generate.write(self._backbone, prompts, generate.ended(self._scoring, decoding), progress)

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples: all of them, each after as many tokens of shots as rows have at mean.

        Nothing is chosen.
        """
        texts = self._texts[:: -(-len(self._texts) // MOST_ROWS)]
        between = num_tokens(self._backbone, layout_of(self._backbone, self._scoring, [_EMPTY]).before)
        mean = sum(num_tokens_of(self._backbone, texts)) / len(texts)
        reading = self._reading(examples)
        return [Round(round(self.num_shots * (mean + between)), examples, is_chosen=True, reading=reading)]

    def _reading(self, examples: Sequence[Example]) -> Reading | None:
        if self._selector.embedder is None:
            return None
        embedder = self._selector.embedder(self._backbone, self._options.embedder)
        rows = list(dict.fromkeys(example.input for example in self._inputs))
        queries = [self._text_of(example) for example in examples]
        of_rows, of_queries = (tuple(map(len, embedder.ids(texts))) for texts in (rows, queries))
        digest = hashlib.sha256("\0".join([embedder.fingerprint, *rows]).encode()).digest()
        return Reading(digest, of_rows, of_queries, embedder.sizes)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Choose shots for these examples, and count those, from the most similar one on, with which all prompts fit.

        What was chosen for others before is let go of, so that memory does not grow with the number of queries.
        """
        self._chosen.clear()
        self.choose(examples)
        return super().num_fitting(examples)

    @cached_property
    def _inputs(self) -> list[Example]:
        """The rows as the template renders them."""
        return [self._renders.render(row) for row in self._rows]

    @cached_property
    def _written(self) -> list["Written"]:
        written = []
        for rendered in self._inputs:
            example, num_cut = cut_input(
                self._backbone, relabel(rendered, self._options.labels, self._seed), self._scoring.max_input_tokens
            )
            written.append(Written(Shot(example.input, example.target, example.joint), num_cut))
        return written

    @property
    def _texts(self) -> list[str]:
        return [Layout().text(row.shot.input, row.shot.answer, row.shot.joint) for row in self._written]

    @cached_property
    def _neighbours(self) -> Neighbours:
        texts = [example.input for example in self._inputs]
        if len({text.casefold() for text in texts}) == 1 < len(texts):
            message = f"all {len(texts)} training rows have the same text in template '{self._template}'"
            raise TaskError(message, hint="there is nothing to choose by: --select random, or other rows with --train")
        return Neighbours(self._selector.index(texts, self._backbone, self._options.embedder), texts)

    def _work(self, examples: Sequence[Example]) -> SelectionWork:
        index, queries = self._neighbours.index, [self._text_of(example) for example in examples]
        return SelectionWork(
            index_bytes=index.num_bytes,
            index_seconds=index.seconds,
            seconds=self._seconds,
            index_tokens=index.tokens,
            query_tokens=tuple(index.query_tokens(queries)),
            num_multiplied=index.num_multiplied,
            reader=index.sizes,
        )

    def _text_of(self, example: Example) -> str:
        """Return what rows are compared with: the row's input, also of a query that shows none of it."""
        assert example.row is not None, "an example that no template rendered"
        return self._renders.render(example.row).input

    def _encoded(self, examples: Sequence[Example], num_shots: int) -> list[Encoded]:
        if not num_shots:
            return encode(self._backbone, examples, self._scoring)
        self.choose(examples)
        return [
            tokens
            for example in examples
            for tokens in encode(self._backbone, [example], self._scoring, self.shown(example, num_shots))
        ]

    def _surely_fit(self, examples: Sequence[Example], limit: int) -> bool:
        around = num_virtual_tokens(self._backbone) + SLACK
        return all(around + self._num_bytes(example) <= limit for example in examples)

    def _num_bytes(self, example: Example) -> int:
        layout = layout_of(self._backbone, self._scoring, self.shown(example))
        return max(len(layout.text(example.input, choice, example.joint).encode()) for choice in example.choices)


@dataclass(frozen=True)
class Written:
    """A row as a shot, and how many tokens were cut from its input."""

    shot: Shot
    num_cut_tokens: int


_EMPTY = Shot("", "", "")
