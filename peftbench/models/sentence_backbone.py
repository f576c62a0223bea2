"""A sentence model as a backbone: it makes vectors of texts, and writes none; classifiers of embeddings take it."""

from typing import Any

import torch
from torch import nn

from peftbench.models import devices, sentence_model, source
from peftbench.models.backbone import Backbone
from peftbench.models.sentence_model import SentenceModel
from peftbench.models.threads import THREADS


class SentenceBackbone(Backbone):
    """A sentence model in the place of a model that writes text. Nothing can be attached to it.

    Args:
        name: Its folder, as the user wrote it.
        sentence: The model.
    """

    sentence: SentenceModel

    def __init__(self, name: str, sentence: SentenceModel) -> None:
        self.name, self.revision, self.model_sha256, self.quantization = name, None, None, None
        self.fingerprint, self.sentence, self.tokenizer = sentence.fingerprint, sentence, sentence.tokenizer
        self.tables, self.is_encoder_decoder, self.max_positions = {}, False, None
        self.num_parameters, self.num_positions_before = sentence.sizes.num_parameters, 0
        self.sizes: Any = sentence.sizes

    @property
    def facts(self) -> dict[str, Any]:
        """See `Backbone.facts`."""
        return {
            "family": self.sentence.family,
            "is_encoder_decoder": False,
            "num_parameters": self.num_parameters,
            "dtype": "float32",
            "device": self.device.type,
            "quantization": None,
        }

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.sentence.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return torch.float32

    @property
    def soft_prompt(self) -> nn.Module | None:
        """None: nothing is attached."""
        return None

    def detach_all(self) -> None:
        """Do nothing: nothing is attached."""


def load(name: str, device: str = "auto") -> SentenceBackbone:
    """Load the sentence model of a folder, or of an installed package.

    Raises:
        ModelError: It is damaged, or there is no such device.
    """
    sentence = sentence_model.load(source.find(name), devices.find(device))
    THREADS.suit(sentence.sizes.num_parameters)
    return SentenceBackbone(name, sentence)
