"""Shots as a prefix: the keys and values that their tokens have, as an adapter of prefix tuning; nothing is trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache

from peftbench.adapters import saved
from peftbench.errors import MethodError, ModelError
from peftbench.learners.predictor import Prompting, Wrapped
from peftbench.methods import prefix_tuning
from peftbench.models.backbone import Backbone
from peftbench.scoring import prefill
from peftbench.scoring.batches import token_budget
from peftbench.scoring.encoding import encode, opening
from peftbench.scoring.generate import Output, generate
from peftbench.scoring.layout import Shot
from peftbench.scoring.score import Scores, score
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example

METHOD = "prefix_tuning"


class PrefixPredictor(Wrapped):
    """Scores queries after the shots' keys and values: a causal model's are the same whatever the query.

    The prefix holds one template's wording. Its keys stand at the positions of their tokens, and the query's positions
    go on from there (`position_offset`), so that all log-probabilities are those of the prompt that it comes from.

    Args:
        backbone: Decoder-only, with nothing attached.
        prompt: The prompt.
        shots: Gives the shots in the order in which they stand before a query.
        scoring: As of the prompt.
    """

    def __init__(
        self, backbone: Backbone, prompt: Prompting, shots: Callable[[], Sequence[Shot]], scoring: Scoring
    ) -> None:
        check_prefix(backbone)
        super().__init__(prompt)
        self._backbone, self._shots, self._scoring = backbone, shots, scoring
        self._tensors: dict[str, Tensor] = {}

    @property
    def config(self) -> prefix_tuning.Config:
        """Settings of prefix tuning that put the prefix in."""
        num_keys = next(iter(self._tensors.values())).shape[1]
        return prefix_tuning.Config(num_virtual_tokens=num_keys, position_offset=num_keys)

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Make the prefix of the first `num_shots` shots.

        Raises:
            ModelError: They do not fit, or a query has other tokens after them than by itself.
        """
        self.inner.take(num_shots, examples)
        self._tensors = _keys_and_values(self._backbone, self._shared_ids(examples))

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices with the prefix attached."""
        with self.attached():
            scores = score(self._backbone, examples, self._scoring, progress=progress)
        # In what is counted the prefix is what it stands for: tokens whose keys and values are read.
        num_keys = self.config.num_virtual_tokens
        lengths = [replace(length, context=length.context + num_keys, shots=num_keys) for length in scores.lengths]
        passes = tuple(replace(shape, cached_tokens=shape.cached_tokens + num_keys) for shape in scores.work.passes)
        return replace(scores, lengths=lengths, work=replace(scores.work, passes=passes))

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Write an answer to each example with the prefix attached; `shared_tokens` counts the prefix."""
        with self.attached():
            outputs = generate(self._backbone, examples, self._scoring, decoding, progress=progress)
        keys = self.config.num_virtual_tokens
        return [replace(part, context_tokens=part.context_tokens + keys, shared_tokens=keys) for part in outputs]

    def write(self, folder: Path, files: Mapping[str, str]) -> None:
        """Write the adapter, with `files` (name -> text) beside it."""
        with self.attached() as names:
            saved.save(folder, self._backbone, METHOD, self.config, names, files)

    @contextmanager
    def attached(self) -> Iterator[list[str]]:
        """Attach the prefix for as long as the block takes; gives its parameters' names."""
        try:
            names = prefix_tuning.restore(self._backbone, self.config, {})
            with torch.no_grad():
                for name, parameter in self._backbone.parameters_named(names).items():
                    parameter.copy_(self._tensors[name])
            yield names
        finally:
            self._backbone.detach_all()

    def _shared_ids(self, examples: Sequence[Example]) -> Sequence[int]:
        """Return the tokens of the shots, which each query's tokens must follow unchanged.

        Raises:
            ModelError: A query has other tokens after the shots than by itself.
        """
        alone, after = (encode(self._backbone, examples, self._scoring, shots) for shots in ((), self._shots()))
        skip = len(opening(self._backbone))
        ids = after[0].context[: len(after[0].context) - len(alone[0].context) + skip]
        for query, prompt in zip(alone, after, strict=True):
            own = query.context[skip:]
            if not own or (*ids, *own) != prompt.context or query.choices != prompt.choices:
                raise ModelError(
                    f"the tokenizer of '{self._backbone.name}' gives a query other tokens after the shots than alone: "
                    "their keys and values are no prefix of it",
                    hint="without --as-prefix; or another --separator",
                )
        return ids


def check_prefix(backbone: Backbone) -> None:
    """Check that a model's shots can be a prefix: that no query changes their keys and values.

    Raises:
        MethodError: They cannot, and why.
    """
    if not backbone.sizes.is_causal:
        reason = "its encoder reads the query together with them"
    elif backbone.is_windowed:
        reason = "its attention has a window that they would have to leave as the text goes on"
    else:
        return
    hint = "without --as-prefix, or another model, for example --model mini-gpt"
    raise MethodError(f"shots cannot be a prefix on '{backbone.name}': {reason}", hint=hint)


def save(predictors: Sequence[Prompting], folder: Path, files: Mapping[str, Mapping[str, str]]) -> Path:
    """Write an adapter for each template.

    Args:
        predictors: One for each template, of this kind.
        folder: Where; each adapter is a folder in it.
        files: For each template: name of its adapter's folder -> the files beside the adapter, name -> text.
    """
    for predictor, (name, beside) in zip(predictors, files.items(), strict=True):
        assert isinstance(predictor, PrefixPredictor)
        predictor.write(folder / name, beside)
    return folder


@torch.no_grad()
def _keys_and_values(backbone: Backbone, ids: Sequence[int]) -> dict[str, Tensor]:
    """Run the tokens once; give each attention block's keys and values under their names as parameters."""
    cache = DynamicCache()
    prefill.fill(backbone, 0, ids, cache, token_budget(backbone))
    tensors = {}
    for block in backbone.attentions():
        layer = cache.layers[block.layer]
        for name, states in (("k", layer.keys), ("v", layer.values)):
            tensors[f"{block.module}.prefix.{name}"] = states[0].float()
    return tensors
