"""Tiny models with chat templates, written for the tests: one of turns in special tokens, one of turns in words."""

import tempfile
from functools import cache
from pathlib import Path

from peftbench.models.backbone import Backbone
from peftbench.models.load import load
from tests.tiny import tiny_folder, tiny_tokenizer

START, END = "<|im_start|>", "<|im_end|>"
# Turns between special tokens; a system prompt of its own where there is none.
MARKED = """
{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\nanswer true<|im_end|>\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""
# Turns in words; the system prompt goes into the first of them, and each answer has a space on both sides.
WORDED = """
{%- set ns = namespace(system='') %}
{%- if messages[0].role == 'system' %}
    {%- set ns.system = '<<' ~ messages[0].content ~ '>>\n' %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}
    {%- if message.role == 'user' %}
        {{- bos_token + '[INST] ' + (ns.system if loop.first else '') + message.content + ' [/INST]' }}
    {%- else %}{% generation %}{{ ' ' + message.content + ' ' + eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}"""
TEMPLATES = {"marked": MARKED, "worded": WORDED}


def chat_folder(kind: str, path: Path, template: str | None = None) -> Path:
    """Write a tiny model whose tokenizer has a chat template, one of `TEMPLATES` or another."""
    family = "gpt2" if kind == "marked" else "llama"  # which opens texts with a token, as that template does
    tokenizer = tiny_tokenizer(family, (START, END) if kind == "marked" else ())
    tokenizer.chat_template = TEMPLATES[kind] if template is None else template
    return tiny_folder(family, path, tokenizer=tokenizer)


@cache
def _folder(kind: str) -> Path:
    return chat_folder(kind, Path(tempfile.mkdtemp(prefix=f"chat-{kind}-")))


def chat_backbone(kind: str) -> Backbone:
    """Load a fresh tiny model with one of the two templates."""
    return load(str(_folder(kind)), device="cpu")


def turns(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """Write a conversation: what is said by user and assistant in turn."""
    spoken = zip(["user", "assistant"] * len(contents), contents, strict=False)
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [{"role": role, "content": content} for role, content in spoken]
