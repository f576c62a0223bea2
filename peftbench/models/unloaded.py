"""A backbone before its weights are loaded: what tells which records it has is known from its files alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

from peftbench import registry
from peftbench.models import source, weights
from peftbench.models.backbone import Backbone
from peftbench.models.gguf import header
from peftbench.models.gguf import tokenizer as gguf_tokenizer
from peftbench.models.load import quiet, read_config, read_tables, read_tokenizer


class Unloaded(Backbone):
    """Becomes the backbone that is loaded when anything is asked for that these do not have: weights, device.

    Args:
        name: As the user wrote it.
        revision: Of a hub model.
        allow_pickle: Whether weights may be pickles.
        load: Loads it.

    Raises:
        ModelError: Nothing of that name, no weights, a damaged config, an unknown family.
    """

    def __init__(self, name: str, revision: str | None, allow_pickle: bool, load: Callable[[], Backbone]) -> None:
        path = source.find(name, revision, allow_pickle)
        config = read_config(path)
        is_gguf, is_embedded = header.is_gguf(path), name in registry.embedded_models()
        if is_embedded:
            weights.check_sums(path)
        self.name, self.revision, self.tables = name, revision, read_tables(source.settings(name, path))
        self.fingerprint = weights.fingerprint([path] if is_gguf else weights.files(path, allow_pickle))
        self.model_sha256 = None if is_gguf or is_embedded else weights.model_sha256(path)
        self.sizes = registry.family(config.model_type).sizes(config)
        self.is_encoder_decoder = self.sizes.is_encoder_decoder
        read = partial(_gguf_tokenizer, path) if is_gguf else partial(read_tokenizer, path)
        self._load, self._read_tokenizer = load, read

    def __getattr__(self, attribute: str) -> Any:
        """Read the tokenizer, or load all, when it is first asked for."""
        if attribute == "tokenizer":
            with quiet():
                self.tokenizer = self._read_tokenizer()
            return self.tokenizer
        loaded = self._load()
        self.__class__ = type(loaded)  # type: ignore[assignment]
        self.__dict__ = loaded.__dict__
        return getattr(self, attribute)


def _gguf_tokenizer(path: Any) -> Any:
    return gguf_tokenizer.tokenizer(header.read(path))
