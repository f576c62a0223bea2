"""A served model as a backbone: its tokenizer is here, its weights are behind a server."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftbench.costs.describe import describe
from peftbench.errors import ModelError
from peftbench.models import source
from peftbench.models.backbone import Backbone
from peftbench.models.gguf import header
from peftbench.models.gguf import tokenizer as gguf_tokenizer
from peftbench.models.load import quiet, read_tokenizer
from peftbench.models.shapes import Sizes
from peftbench.scoring.batches import Batch
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Work
from peftbench.served import canaries
from peftbench.served.answers import Answers
from peftbench.served.checks import Coding
from peftbench.served.client import Client
from peftbench.served.dialects.base import Answer
from peftbench.served.dialects.next_token import NextToken
from peftbench.served.probe import Probed, probe
from peftbench.spec.cell import SERVED, Server

UNKNOWN = Sizes(
    is_encoder_decoder=False,
    num_encoder_layers=0,
    num_decoder_layers=1,
    d_model=1,
    d_kv=1,
    d_ff=1,
    num_heads=1,
    num_kv_heads=1,
    gated=False,
    vocab_size=1,
)
"""In place of what nobody gave: what is counted by it is absent from the record (`served.costs`)."""
NUM_CHECKS = 3
"""So often the canary is asked for before a model is said to be another one."""


class Remote:
    """A server that passed the probe, as what runs prompts; see `models.backbone.Remote`.

    Args:
        client: The server.
        probed: How it is asked.
        name: Of the model, for messages.
    """

    def __init__(self, client: Client, probed: Probed, name: str) -> None:
        self.client, self.probed, self._name = client, probed, name
        self.answers: Answers | None = None

    def batches(self, encoded: Sequence[Encoded]) -> Iterator[Batch]:
        """Ask for each prompt, several at a time; the first one alone, so that its shots are in the server's cache."""
        known = [None if self.answers is None else self.answers.find(prompt) for prompt in encoded]
        open_prompts = [index for index, answer in enumerate(known) if answer is None]
        for index, answer in enumerate(known):
            if answer is not None:
                yield [index], [list(answer.sums)], Work(usage=answer.usage)
        for part in (open_prompts[:1], open_prompts[1:]):
            for index, answer in zip(part, self.client.spread(self._ask, (encoded[i] for i in part)), strict=True):
                yield [index], [list(answer.sums)], Work(usage=answer.usage)

    def _ask(self, prompt: Encoded) -> Answer:
        answers, answer = self.answers, self.probed.dialect.score(self.client, prompt)
        if answers is not None:  # as it comes, not when its turn comes: a run may be killed in between
            answers.add(prompt, answer)
        return answer


class Served(Backbone):
    """A model behind a server. Nothing can be attached to it, and nothing of it is computed here.

    Args:
        name: As the user wrote it: served:NAME.
        remote: Runs prompts.
        tokenizer: The served model's.
        fingerprint: By what the server says and answers.
        sizes: The served model's; None where no config was given.
        num_parameters: By the config, or as the server says; None where neither does.
    """

    remote: Remote

    def __init__(
        self,
        name: str,
        remote: Remote,
        tokenizer: Any,
        fingerprint: str,
        sizes: Sizes | None,
        num_parameters: int | None,
    ) -> None:
        self.name, self.revision, self.fingerprint, self.model_sha256 = name, None, fingerprint, None
        self.remote, self.tokenizer, self.tables = remote, tokenizer, {}
        description = remote.probed.description
        self.quantization = description.quantization
        self.has_sizes, self.sizes = sizes is not None, sizes or UNKNOWN
        self.max_positions = _positions(remote.probed)
        self.is_encoder_decoder = False
        self.num_parameters = num_parameters or 0
        self.num_positions_before = 0

    @property
    def facts(self) -> dict[str, Any]:
        """See `Backbone.facts`."""
        description, probed = self.remote.probed.description, self.remote.probed
        return {
            "family": "unknown",
            "is_encoder_decoder": False,
            "num_parameters": self.num_parameters or None,
            "dtype": "unknown",
            "device": "server",
            "quantization": self.quantization,
            "server": {
                "kind": description.kind,
                "version": description.version,
                "dialect": probed.dialect.name,
                "noise": probed.noise,
            },
        }

    @property
    def remark(self) -> str:
        """How the server is asked, and what the probe found."""
        description, probed = self.remote.probed.description, self.remote.probed
        server = " ".join(text for text in (description.kind, description.version) if text)
        size = "" if self.max_positions is None else f"; it takes {self.max_positions:,} tokens"
        return f"{self.name}: {server}, asked by {probed.dialect.name}{size}; {'; '.join(probed.checks)}"

    @property
    def device(self) -> torch.device:
        """Where what is computed beside the model is."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of what is computed beside the model."""
        return torch.float32

    @property
    def soft_prompt(self) -> nn.Module | None:
        """None: nothing is attached."""
        return None

    @property
    def is_windowed(self) -> bool:
        """False: what the served model's layers see is not known here."""
        return False

    @contextmanager
    def session(self, answers: Path) -> Iterator[None]:
        """Run a cell inside, and see in the end that the server's model is still the same.

        Args:
            answers: File of the answers that came, which stays where the run is stopped.

        Raises:
            ModelError: The model was swapped meanwhile; its answers are removed.
        """
        self.remote.answers = Answers(answers)
        try:
            yield
            self._check_unchanged()
        finally:
            self.remote.answers.close()
            self.remote.answers = None

    def detach_all(self) -> None:
        """Do nothing: nothing is attached."""

    def _check_unchanged(self) -> None:
        probed, answers = self.remote.probed, self.remote.answers
        # What others ask for at the same moment moves values for once; another model does for good.
        for _ in range(NUM_CHECKS):
            if canaries.is_same(probed.canary, probed.again(self.remote.client), probed.repeat):
                return
        if answers is not None:
            answers.remove()
        message = f"'{self.name}' answers otherwise than it did before this cell: the server's model was changed"
        raise ModelError(message, hint="finished records are kept; the same command runs the new model's cells")


def _positions(probed: Probed) -> int | None:
    """Return how many tokens a prompt and its longest choice may have; None where the server does not say."""
    most = probed.description.max_positions
    # Where a choice stands in the prompt, one token more is generated behind it; else its last token is that one.
    return most if most is None or probed.dialect.name == NextToken.name else most - 1


def load(name: str, server: Server, known: Path | None = None) -> Served:
    """Probe a server, and take its model for a backbone.

    Args:
        name: served:NAME.
        server: Its address, the model's tokenizer, perhaps its shapes.
        known: File of the served models that are known already (`canaries`).

    Raises:
        ModelError: No server or tokenizer, another tokenizer than the server's, or answers that cannot be right.
        CostError: A config with shapes that no transformer has.
    """
    shape = None if server.config is None else describe(server.config)
    if shape is not None and shape.shape.sizes.is_encoder_decoder:
        message = f"--config '{server.config}' is of an encoder-decoder, and servers run decoder-only models"
        raise ModelError(message, hint="the served model's own config")
    tokenizer = read(server.tokenizer or name.removeprefix(SERVED))
    client = Client(server)
    probed = _probe(client, name, tokenizer, server.dialect)
    description = probed.description
    facts = {
        "kind": description.kind,
        "version": description.version,
        "model": Path(description.model or name).name,  # llama.cpp's is a path
        "quantization": description.quantization,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "dialect": probed.dialect.name,
    }
    fingerprint = canaries.fingerprint(known, facts, probed.canary, probed.repeat)
    num_parameters = description.num_parameters if shape is None else shape.num_parameters
    remote = Remote(client, probed, name)
    sizes = None if shape is None else shape.shape.sizes
    return Served(name, remote, tokenizer, fingerprint, sizes, num_parameters)


def read(name: str) -> Any:
    """Read a tokenizer: of a folder, a GGUF file, a model of `list models`, or a hub id.

    Raises:
        ModelError: There is none.
    """
    path = Path(name)
    if not (path.is_dir() and (path / "tokenizer.json").is_file()):
        try:
            path = source.find(name, with_weights=False)
        except ModelError as error:
            raise ModelError(
                f"no tokenizer: {error}", hint=f"--tokenizer NAME, the served model's: {error.hint}"
            ) from None
    if header.is_gguf(path):
        with quiet():
            return gguf_tokenizer.tokenizer(header.read(path))
    return read_tokenizer(path)


def _probe(client: Client, name: str, tokenizer: Any, dialect: str | None) -> Probed:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    core = tokenizer.backend_tokenizer

    def ids_of(text: str) -> list[int]:
        ids: list[int] = core.encode(text, add_special_tokens=False).ids
        return ids

    def text_of(ids: Sequence[int]) -> str:
        text: str = core.decode(list(ids), skip_special_tokens=True)
        return text

    opening = core.encode("", add_special_tokens=True).ids[:1]
    is_opened = bool(opening) and opening[0] == tokenizer.bos_token_id
    coding = Coding(ids_of, text_of, tuple(opening) if is_opened else ())
    return probe(client, name.removeprefix(SERVED), coding, dialect)
