"""Chat templates render as transformers renders them, and a stranger's goes no further than its budget."""

import datetime

import pytest
from transformers.utils import chat_template_utils

from peftbench.errors import ModelError
from peftbench.models.chat_template import DATE, ChatTemplate, chat_template, source_of
from tests.chats import MARKED, TEMPLATES, WORDED, chat_backbone, turns
from tests.tiny import tiny_backbone

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# What templates of published models are made of.
RICH = """{% macro shown(text, is_last) %}{{ text.split('#')[-1].strip() }}{{ '.' if is_last }}{% endmacro %}
{%- if tools is not none or unheard_of %}tools{% endif %}
  {% set when = strftime_now('%d %b %Y') %}
It is {{ when }}{{ pad_token }}.
{% for message in messages[::-1] %}
  {% if message.role == 'system' %}{% continue %}{% endif %}
  {%- if message['content'] is string and not message.tool_calls %}
{{ message | tojson }} {{ shown(message.content, loop.last) }} {{ message.get('name', 'nobody') }}
  {%- endif %}
{% endfor %}
{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') }}
"""


class Frozen(datetime.datetime):
    """A clock that stands still on the day that our prompts show."""

    @classmethod
    def now(cls, tz=None):
        return DATE


@pytest.mark.parametrize("source", [MARKED, WORDED, RICH], ids=["marked", "worded", "rich"])
@pytest.mark.parametrize("system", [None, "be <brief> & 'kind'"])
def test_a_chat_template_renders_as_transformers_renders_it(source, system, monkeypatch):
    monkeypatch.setattr(chat_template_utils, "datetime", Frozen)
    messages = turns("a question? #1", "yes", "two\nlines\u00e9", "no", system=system)
    reference, _ = chat_template_utils.render_jinja_template([messages], chat_template=source, **TOKENS)
    assert ChatTemplate("m", source, TOKENS).render(messages) == reference[0]


LOOP = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"
MACRO = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"
HOSTILE = {
    "a syntax error": ("{% if %}", "has a syntax error"),
    "no end": (LOOP, "goes beyond its budget: it takes more than 20,000 steps for a message"),
    "itself": (MACRO, "fails: RecursionError"),
    "a bomb": ("{{ 'x' * 10 ** 9 }}", "goes beyond its budget"),
    "a wide date": ("{{ strftime_now('%999999999d') }}", "goes beyond its budget"),
    "its insides": ("{{ messages.__class__.__mro__ }}", "reads what no template may"),
    "a change": ("{{ messages.append(1) }}", "reads what no template may"),
    "null": ("{{ tools }}", "fails: MissingValueError: null"),
    "a function that is not there": ("{{ open('/etc/passwd') }}", "'open' is undefined"),
    "an exception of its own": (
        "{{ raise_exception('no\nrole\x1b[31m') }}",
        r"refuses the conversation: no role\?",
    ),
    "its size": ("x" * 100_001, "goes beyond its budget: it has 100,001 characters"),
    "depth": ("{{ " + "(" * 99 + "1" + ")" * 99 + " }}", "goes beyond its budget"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_strangers_chat_template_does_is_one_line(kind):
    source, message = HOSTILE[kind]
    with pytest.raises(ModelError, match=f"the chat template of 'm' .*{message}") as error:
        ChatTemplate("m", source, TOKENS).render(turns("a question?", "yes"))
    assert error.value.message.isprintable()


def test_a_long_conversation_has_a_budget_for_each_message():
    source = "{% for message in messages %}{% for step in range(9000) %}{% endfor %}{{ message.content }}{% endfor %}"
    assert ChatTemplate("m", source, TOKENS).render(turns(*"abcd")) == "abcd"
    with pytest.raises(ModelError, match="goes beyond its budget"):
        ChatTemplate("m", source.replace("9000", "30000"), TOKENS).render(turns(*"abcd"))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_model_brings_its_template_and_special_tokens(kind):
    backbone = chat_backbone(kind)
    messages = turns("a question?", "yes")
    assert chat_template(backbone).render(messages) == backbone.tokenizer.apply_chat_template(messages, tokenize=False)


def test_of_several_templates_the_default_is_taken():
    backbone = chat_backbone("marked")
    backbone.tokenizer.chat_template = {"tool_use": WORDED, "default": MARKED}
    assert source_of(backbone) == MARKED
    backbone.tokenizer.chat_template = {"tool_use": WORDED}
    assert source_of(backbone) is None


@pytest.mark.parametrize(
    ("family", "message"), [("gpt2", "the tokenizer of '.*' has no chat template"), ("t5", "is an encoder-decoder")]
)
def test_a_model_without_turns_is_one_line(family, message):
    backbone = tiny_backbone(family)
    if family == "t5":
        backbone.tokenizer.chat_template = MARKED
    assert source_of(backbone) is None
    with pytest.raises(ModelError, match=message):
        chat_template(backbone)
