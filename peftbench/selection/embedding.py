r"""Embeddings: a row is similar to a query where the model's hidden states of both point the same way.

    e(x) = mean_t h_t,   similarity(q, d) = e(q) e(d) / (|e(q)| |e(d)|)

h_t are the last hidden states, the encoder's of an encoder-decoder, of all tokens of a text by itself, those included
with which the tokenizer opens and ends it. A text longer than the model's positions is cut to them. Equal texts are
read once. The model is the backbone, as it is loaded; or a sentence model, which pools its states as its folder says.

Shapes: hidden states (texts, tokens, d_model); embeddings (texts, d_model) float32, each of length 1.

Paper: 2101.06804, section 3, with other encoders.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from peftbench.errors import RunError
from peftbench.models import sentence_model
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import EncoderSizes
from peftbench.scoring.batches import first_batch
from peftbench.scoring.encoding import text_ids
from peftbench.scoring.forward import padded
from peftbench.selection.base import Array, Embedder, Selector

BUDGET = 1024
"""Tokens that are read at once."""
MAX_BYTES = 200_000_000
"""Of one model's remembered embeddings; the oldest are forgotten first."""


@dataclass(frozen=True)
class EmbeddingIndex:
    """The embeddings of rows.

    Args:
        embedder: What made them, and makes those of queries.
        embeddings: (rows, d_model) float32, each of length 1.
        tokens: Tokens of each different text that was read.
        seconds: Wall time that it took.
    """

    embedder: Embedder
    embeddings: Array
    tokens: tuple[int, ...]
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Bytes of the embeddings."""
        return self.embeddings.nbytes

    @property
    def sizes(self) -> EncoderSizes | None:
        """Return a sentence model's; None of the backbone's own states."""
        return self.embedder.sizes

    @property
    def num_multiplied(self) -> int:
        """Count the numbers of all embeddings."""
        return self.embeddings.size

    def query_tokens(self, queries: Sequence[str]) -> list[int]:
        """Count the tokens of each query."""
        return [len(ids) for ids in self.embedder.ids(queries)]

    def similarities(self, queries: Sequence[str]) -> Array:
        """Compute the cosine of queries with each row, (queries, rows) float32."""
        similarities: Array = embed(self.embedder, queries)[0] @ self.embeddings.T
        return similarities


class OwnStates:
    """Embeds texts by the backbone's own hidden states.

    Args:
        backbone: As it was loaded.
    """

    sizes: EncoderSizes | None = None

    def __init__(self, backbone: Backbone) -> None:
        self.name, self.fingerprint, self._backbone = backbone.name, backbone.fingerprint, backbone

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts, each cut to the model's positions."""
        return [ids[: self._backbone.max_positions] for ids in text_ids(self._backbone, texts)]

    def pooled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Compute the mean of each row's hidden states, (rows, d_model) float32."""
        backbone = self._backbone
        embeds, seen = padded(backbone, rows, 0)
        if backbone.is_encoder_decoder:
            hidden = backbone.model.get_encoder()(inputs_embeds=embeds, attention_mask=seen).last_hidden_state
        else:
            hidden = backbone.model.base_model(
                inputs_embeds=embeds, attention_mask=seen, use_cache=False
            ).last_hidden_state
        return mean(hidden, seen.to(hidden.device))


def embedder_of(backbone: Backbone, folder: Path | None = None) -> Embedder:
    """Return what embeds texts: the sentence model of a folder, or the backbone, which may be one itself.

    Raises:
        ModelError: The folder holds no sentence model.
    """
    if folder is not None:
        return sentence_model.load(folder, backbone.device)
    return backbone.sentence or OwnStates(backbone)


def mean(hidden: Tensor, seen: Tensor) -> Tensor:
    """Average hidden states (rows, tokens, d_model) over the tokens that are no padding, (rows, tokens) int: 1."""
    weights = seen[..., None].float()
    return (hidden.float() * weights).sum(1) / weights.sum(1)


@torch.inference_mode()
def embed(embedder: Embedder, texts: Sequence[str]) -> tuple[Array, tuple[int, ...]]:
    """Embed texts, in batches of like length; equal texts are read once.

    Returns:
        (texts, d_model) float32, each of length 1; and the tokens of each different text.

    Raises:
        RunError: Hidden states are not finite.
    """
    place = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    rows = embedder.ids(list(place))
    costs = [len(ids) for ids in rows]
    order = sorted(range(len(rows)), key=costs.__getitem__, reverse=True)
    embeddings: list[Array] = [np.empty(0)] * len(rows)
    while order:
        batch = first_batch(order, costs, BUDGET, padded=True)
        states = embedder.pooled([rows[index] for index in batch])
        if not states.isfinite().all():
            raise RunError(f"'{embedder.name}' gives a text hidden states that are not finite", hint="--dtype float32")
        unit = torch.nn.functional.normalize(states, dim=1).cpu().numpy()
        for index, embedding in zip(batch, unit, strict=True):
            embeddings[index] = embedding
        order = order[len(batch) :]
    return np.stack(embeddings)[[place[text] for text in texts]], tuple(costs)


@dataclass(frozen=True)
class _Embedded:
    """Embeddings of texts, their tokens, and the seconds that they took."""

    embeddings: Array
    tokens: tuple[int, ...]
    seconds: float


_MEMORIES: WeakKeyDictionary[Backbone, OrderedDict[bytes, _Embedded]] = WeakKeyDictionary()


def index(
    texts: Sequence[str], backbone: Backbone, folder: Path | None = None, trained: Embedder | None = None
) -> EmbeddingIndex:
    """Embed rows, or take the embeddings that this model, as it was loaded, gave to the same rows.

    What is taken says what it took when it was made: costs stay those of each cell by itself.

    Args:
        texts: Of the rows.
        backbone: Embeds them by its own states, unless there is a folder.
        folder: A sentence model's.
        trained: Embeds them in the place of both.

    Raises:
        ModelError: The folder holds no sentence model.
        RunError: As `embed`.
    """
    embedder, memory = trained or embedder_of(backbone, folder), _MEMORIES.setdefault(backbone, OrderedDict())
    key = hashlib.sha256("\0".join([embedder.fingerprint, *texts]).encode()).digest()
    if key not in memory:
        started = time.perf_counter()
        embeddings, tokens = embed(embedder, texts)
        memory[key] = _Embedded(embeddings, tokens, time.perf_counter() - started)
        while len(memory) > 1 and sum(embedded.embeddings.nbytes for embedded in memory.values()) > MAX_BYTES:
            memory.popitem(last=False)
    embedded = memory[key]
    return EmbeddingIndex(embedder, embedded.embeddings, embedded.tokens, embedded.seconds)


SELECTOR = Selector("embedding", None, embedder_of, index)
