"""What a family's file offers, over the registry; and that nobody else knows a family."""

import inspect
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch

from peftbench import registry
from peftbench.models import family
from peftbench.models.family import Family
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone


@pytest.mark.parametrize("model_type", registry.FAMILIES)
def test_each_family_offers_functions_of_the_arguments_that_they_are_called_with(model_type):
    offered = registry.family(model_type)
    arguments = {
        "window": ["config"],
        "start": ["config"],
        "first_position": ["config"],
        "mask": ["config", "seen", "dtype"],
        "head": ["model", "hidden"],
        "rewire": ["model"],
    }
    arguments |= {"sizes": ["config"], "max_positions": ["config"], "placed": ["decoder", "positions"]}
    arguments |= {"skipped": ["layer", "states", "args"], "elementwise": ["table"]}
    arguments |= {name: ["sizes"] for name in ("sites", "attentions", "layers")}
    assert set(arguments) == {field.name for field in fields(Family)} - {"UNDEFINED", "HEADS", "UNREAD"}
    for name, expected in arguments.items():
        assert list(inspect.signature(getattr(offered, name)).parameters) == expected, name


def test_what_a_file_does_not_offer_has_a_default():
    bare = SimpleNamespace(
        UNDEFINED={}, sizes=len, max_positions=len, sites=len, attentions=len, layers=len, other=lambda: None
    )
    made = Family.of(bare)
    assert (made.window, made.head, made.start) == (family.no_window, family.logits, family.one_start)
    assert made.window(object()) is None


@pytest.mark.parametrize("name", [*FAMILIES, *ENCODERS])
def test_the_head_gives_the_logits_of_the_model_itself(name):
    backbone = tiny_backbone(name)
    ids = torch.tensor([[5, 6, 7, 8]])
    if backbone.is_encoder_decoder:
        call = {"input_ids": ids, "decoder_input_ids": torch.tensor([[*backbone.start_ids, 9, 10]])}
    else:
        call = {"input_ids": ids}
    with torch.no_grad():
        whole = backbone.model(**call, use_cache=False).logits
        part = backbone.model.base_model(**call, use_cache=False) if not backbone.is_encoder_decoder else None
        hidden = _decoder_states(backbone, **call) if part is None else part.last_hidden_state
        torch.testing.assert_close(backbone.logits(hidden.flatten(0, 1)), whole.flatten(0, 1).float())


def _decoder_states(backbone, input_ids, decoder_input_ids):
    mask = torch.ones_like(input_ids)
    states = backbone.model.get_encoder()(input_ids=input_ids, attention_mask=mask).last_hidden_state
    seen = torch.zeros(1, 1, 1, input_ids.shape[1])
    return backbone.model.get_decoder()(
        input_ids=decoder_input_ids, encoder_hidden_states=states, encoder_attention_mask=seen, use_cache=False
    ).last_hidden_state
