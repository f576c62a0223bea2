"""A model folder's chat template: turns of a conversation as one text, by transformers' rules and in our sandbox.

The template is a stranger's code. transformers keeps it from reading what it should not, and lets it run for ever; the
sandbox of `tasks.sandbox` does that and counts steps as well.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SecurityError

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.tasks.growth import BudgetError, refuse_format
from peftbench.tasks.sandbox import Environment, compiled

if TYPE_CHECKING:
    from peftbench.models.backbone import Backbone

DATE = datetime.datetime(2024, 7, 26)
"""The date for templates that show the day's: a prompt is the same each day. Llama 3's show it where they know none."""
CLOCK = "strftime_now"
"""By this function a chat template shows the date."""
PLAIN = "without --chat prompts are plain text"

Message = Mapping[str, str]
"""A turn: its "role" (system, user or assistant), and its "content"."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        model: Name of its model, for messages.
        source: Jinja.
        tokens: The tokenizer's special tokens by their names (bos_token, ...), as the template sees them.

    Raises:
        ModelError: It is no Jinja, or too large.
    """

    def __init__(self, model: str, source: str, tokens: Mapping[str, Any]) -> None:
        self._model, self._source, self._tokens = model, source, dict(tokens)
        try:
            self._template = _compiled(source)
        except jinja2.TemplateSyntaxError as error:
            raise self._error("has a syntax error", error.message or "no Jinja") from None
        except BudgetError as error:
            raise self._error("goes beyond its budget", str(error)) from None

    @property
    def sha256(self) -> str:
        """SHA-256 of its text."""
        return sha256(self._source.encode()).hexdigest()

    @property
    def is_dated(self) -> bool:
        """Whether it may show the date, which is `DATE`."""
        return CLOCK in self._source

    def render(self, messages: Sequence[Message]) -> str:
        """Write a conversation as one text, without the opening of a turn that is to come.

        Raises:
            ModelError: The template refuses the conversation, fails, or goes beyond its budget.
        """
        ENVIRONMENT.start(len(self._source), len(messages))
        turns = [dict(message) for message in messages]
        fixed = {"tools": None, "documents": None, "add_generation_prompt": False}
        try:
            return self._template.render(messages=turns, **fixed, **self._tokens)
        except RefusedError as error:
            raise self._error("refuses the conversation", str(error)) from None
        except SecurityError as error:
            raise self._error("reads what no template may", str(error).rstrip(".")) from None
        except BudgetError as error:
            raise self._error("goes beyond its budget", str(error)) from None
        except Exception as error:  # whatever a stranger's expression runs into
            raise self._error("fails", f"{type(error).__name__}: {error}") from None

    def _error(self, fault: str, reason: str) -> ModelError:
        return ModelError(f"the chat template of '{self._model}' {fault}: {foreign.line(reason)}", hint=PLAIN)


class RefusedError(Exception):
    """A chat template that raises an exception of its own."""


class _Generation(Extension):
    """Reads {% generation %}, by which templates mark what an assistant said; here it shows what it holds."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(Environment):
    """The sandbox with what transformers has for chat templates.

    Differs: transformers shows today's date, and null as "None", which is an error here.
    """

    unit = "message"

    def __init__(self) -> None:
        extensions = [loopcontrols, _Generation]
        super().__init__(undefined=jinja2.Undefined, trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        self.filters["tojson"] = self._bounded("tojson", _json)
        self.globals |= {"raise_exception": _refuse, CLOCK: _date}


def _json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise RefusedError(str(message))


def _date(form: str) -> str:
    refuse_format(form, ())
    return DATE.strftime(form)


ENVIRONMENT = ChatEnvironment()


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return compiled(source, ENVIRONMENT)[0]


def source_of(backbone: "Backbone") -> str | None:
    """Return the chat template that a model's turns are written by; None where it has none, or takes no turns."""
    template = backbone.tokenizer.chat_template
    if isinstance(template, Mapping):  # several, by name
        template = template.get("default")
    return template if isinstance(template, str) and template and not backbone.is_encoder_decoder else None


def chat_template(backbone: "Backbone") -> ChatTemplate:
    """Compile the chat template of a model.

    Raises:
        ModelError: It has none, is an encoder-decoder, or its template is faulty.
    """
    source = source_of(backbone)
    if backbone.is_encoder_decoder:
        raise ModelError(f"'{backbone.name}' is an encoder-decoder, which is no chat model", hint=PLAIN)
    if source is None:
        hint = f"a model that was tuned to chat has a chat template in its tokenizer's files; {PLAIN}"
        raise ModelError(f"the tokenizer of '{backbone.name}' has no chat template", hint=hint)
    return ChatTemplate(backbone.name, source, backbone.tokenizer.special_tokens_map)
