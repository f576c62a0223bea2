"""Two-layer backbones of each family, made offline in a second; shapes are chosen to catch mix-ups."""

import copy
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)

from peftbench.models.backbone import Backbone
from peftbench.models.load import load

FAMILIES = ("t5", "t5-v1.0", "gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3")
FAMILIES += ("gpt_neox", "bloom")
FAMILIES += ("opt", "bart")
ENCODER_DECODERS = ("t5", "t5-v1.0", "bart")
# Those that fill masks; they are in tests of their own, and in those of all families that say so.
ENCODERS = ("bert", "roberta", "modernbert", "deberta-v2")
WINDOW = 8  # tokens: shorter than any prompt in the tests

TEXT = "the premise says that the hypothesis does follow yes no true false maybe question answer positive negative"
GEMMAS = ("gemma", "gemma2", "gemma3_text")
INTERLEAVED = ("gpt_neox", "bloom")
MASK = AddedToken("<mask>", lstrip=True, special=True)  # it takes the blank before it along, as RoBERTa's does
BOS = ("llama", "mistral", *GEMMAS)


def tiny_backbone(family: str) -> Backbone:
    """Return a fresh tiny backbone: random but seeded weights, no dropout, float32 on the CPU.

    It is a copy of one that was loaded, which takes a sixth of loading.
    """
    return copy.deepcopy(_loaded(family))


@cache
def _loaded(family: str) -> Backbone:
    return load(str(_folder(family)), device="cpu")


def tiny_folder(family: str, path: Path, *, tokenizer: PreTrainedTokenizerFast | None = None, **more: Any) -> Path:
    """Write a tiny model of a family into `path` as a Hugging Face folder, and give the path back.

    `more` are fields of the config, where the family takes any.
    """
    tokenizer = tokenizer or tiny_tokenizer(family)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kinds = {"bart": bart, "opt": opt, "t5": _t5, "t5-v1.0": _t5, **dict.fromkeys(ENCODERS, encoder)}
        model = kinds.get(family, _decoder)(family, len(tokenizer), **more)
    path.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(path)
    save_file(_tensors(model), path / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(path)
    return path


def tiny_tokenizer(family: str, turns: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on one line: common words are one token, any text can be encoded.

    `turns` are further special tokens.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<s>", *turns, *([MASK] if family in ENCODERS else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([TEXT] * 2, trainer)
    if family in ("bart", *ENCODERS):
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
        )
    elif family in ENCODER_DECODERS:
        core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    elif family == "opt":  # it opens texts with what ends them
        core.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    elif family in BOS:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    names = {"bos_token": "<s>"} if family in (*BOS, "bart") else {"bos_token": "</s>"} if family == "opt" else {}
    if family in ENCODERS:
        names = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": MASK}
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", **names)


@cache
def _folder(family: str) -> Path:
    return tiny_folder(family, Path(tempfile.mkdtemp(prefix=f"tiny-{family}-")))


def _t5(family: str, vocab_size: int) -> nn.Module:
    gated = family == "t5"
    config = T5Config(
        vocab_size=vocab_size, d_model=16, d_kv=6, d_ff=40, num_layers=2, num_heads=4, dropout_rate=0.0,
        feed_forward_proj="gated-gelu" if gated else "relu", decoder_start_token_id=0, tie_word_embeddings=not gated,
        relative_attention_num_buckets=8, relative_attention_max_distance=16,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    if gated:
        model.lm_head.weight = nn.Parameter(0.3 * torch.randn(vocab_size, 16))
    return model


def bart(_family: str, vocab_size: int, **more: Any) -> nn.Module:
    """Build a BART whose embeddings are scaled and whose logits, norms and layers have biases."""
    shape = {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 512, "init_std": 0.2,
        "scale_embedding": True, "dropout": 0.0,
    }  # fmt: skip
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1}
    model = BartForConditionalGeneration(BartConfig(vocab_size=vocab_size, **{**shape, **special, **more}))
    model.final_logits_bias.normal_()
    return _biased(model)


def opt(_family: str, vocab_size: int, **more: Any) -> nn.Module:
    """Build an OPT whose norms and layers have biases."""
    shape = {
        "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 40, "num_attention_heads": 4, "init_std": 0.2,
        "max_position_embeddings": 512, "dropout": 0.0,
    }  # fmt: skip
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    return _biased(AutoModelForCausalLM.from_config(OPTConfig(vocab_size=vocab_size, **{**shape, **special, **more})))


def encoder(family: str, vocab_size: int, **more: Any) -> nn.Module:
    """Build an encoder with a head that fills masks; all that has a bias has another one."""
    shape = {
        "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 40, "num_attention_heads": 4,
        "max_position_embeddings": 514, "initializer_range": 0.2, "vocab_size": vocab_size, "pad_token_id": 0,
    }  # fmt: skip
    none = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    windows = {"local_attention": WINDOW, "layer_types": ["full_attention", "sliding_attention"]}
    special = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 1, "sep_token_id": 1}
    distances = {
        "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "share_att_key": True, "position_buckets": 6,
        "position_biased_input": False, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
    }  # fmt: skip
    own = {"modernbert": windows | special, "deberta-v2": none | distances}.get(family, none)
    kinds = {"bert": "Bert", "roberta": "Roberta", "modernbert": "ModernBert", "deberta-v2": "DebertaV2"}
    kind = kinds[family]
    config = getattr(transformers, f"{kind}Config")(**{**shape, **own, **more})
    return _biased(getattr(transformers, f"{kind}ForMaskedLM")(config))


def _biased(model: nn.Module) -> nn.Module:
    """Move biases and norms away from zeros and ones."""
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter) if parameter.dim() == 1 else 0)
    return model


def _decoder(family: str, vocab_size: int, **more: Any) -> nn.Module:
    special = {"vocab_size": vocab_size, "pad_token_id": 0, "eos_token_id": 1}
    special["bos_token_id"] = 2 if family in BOS else None
    if family == "gpt2":
        dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(
            n_embd=16, n_layer=2, n_head=4, n_positions=512, initializer_range=0.2, **dropout, **special
        )
        return AutoModelForCausalLM.from_config(config)
    if family in INTERLEAVED:
        return interleaved(family, **special, **more)
    shape = {
        "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 6,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2,
        "tie_word_embeddings": family not in ("llama", "phi3"),
    }  # fmt: skip
    window = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    gemma = {"query_pre_attn_scalar": 9, "sliding_window": WINDOW}
    gemma |= {"layer_types": ["sliding_attention", "full_attention"]}
    configs = {
        "llama": (LlamaConfig, {}),
        "mistral": (MistralConfig, {"sliding_window": WINDOW}),
        "qwen2": (Qwen2Config, window),
        "qwen3": (Qwen3Config, {}),
        "gemma": (GemmaConfig, {"num_key_value_heads": 1}),
        "gemma2": (Gemma2Config, {**gemma, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
        "gemma3_text": (Gemma3TextConfig, {**gemma, "num_key_value_heads": 1}),
        "phi3": (Phi3Config, {"rope_parameters": rope | {"partial_rotary_factor": 0.7}}),  # 4 of 6 features turn
    }
    kind, more = configs[family]
    model = AutoModelForCausalLM.from_config(kind(**{**shape, **special, **more}))
    if family in GEMMAS:  # their norms start from zeros, which stand for ones
        for name, parameter in model.named_parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter) if "norm" in name else 0)
    return model


def interleaved(family: str, **more: Any) -> nn.Module:
    """Build a GPT-NeoX of which half of each head turns, or a BLOOM whose heads are no power of two; biases differ."""
    if family == "bloom":
        config = BloomConfig(**{"hidden_size": 24, "n_head": 6, "n_layer": 2, "initializer_range": 0.2, **more})
    else:
        config = GPTNeoXConfig(
            **{
                "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
                "rotary_pct": 0.5, "max_position_embeddings": 512, "initializer_range": 0.2, **more,
            }
        )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter) if parameter.dim() == 1 else 0)
    return model


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Give each tensor under its first name only: tied ones are stored once, as save_pretrained does."""
    names: dict[int, str] = {}
    weights = model.state_dict(keep_vars=True)
    for name, weight in weights.items():
        names.setdefault(id(weight), name)
    return {name: weights[name].detach().clone() for name in names.values()}
