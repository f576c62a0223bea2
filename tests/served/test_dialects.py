"""Whatever stands in a server's answer, a dialect gives numbers or one line."""

import copy
import math

import pytest

from peftbench.errors import ModelError
from peftbench.scoring.encoding import Encoded
from peftbench.served.client import Refused
from peftbench.served.dialects.echo import Echo
from peftbench.served.dialects.next_token import ByBias, ByIds, NextToken
from peftbench.served.dialects.sglang import SgLang
from tests.served.stub import FORMS, MODEL, Stub, backbone

STRANGE = [None, True, -1, 1e400, math.nan, "x", "1", [], {}, [[]], {"a": 1}, "token_id:" + "9" * 5000, [None], 0.5]
PROMPT = (5, 6, 7)


class Here:
    """A server without HTTP: the stub's answers, one place of them with another value."""

    def __init__(self, form):
        self.stub, self.place, self.value = Stub(form), None, None

    def post(self, path, body):
        answer = self.stub.post(path, body)
        if answer is None:
            raise Refused("no page", 404, "")
        return answer if self.place is None else put(answer, self.place, self.value)


def dialect_of(form):
    def ids_of(text):
        return backbone().tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    return {
        "bias": NextToken(ByBias(MODEL)),
        "ids": NextToken(ByIds(MODEL)),
        "sglang": SgLang(),
        "echo": Echo(MODEL, ids_of),
    }[form]


def places(value, at=()):
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*at, key))


def put(answer, place, value):
    """The answer with another value at a place; as it is where it has no such place."""
    if not place:
        return value
    answer = copy.deepcopy(answer)
    table = answer
    for key in place[:-1]:
        if key not in range(len(table)) if isinstance(table, list) else key not in table:
            return answer
        table = table[key]
    table[place[-1]] = value
    return answer


def answers_of(form):
    """What is asked, and the answer without a fault."""
    here, asked = Here(form), []
    post = here.stub.post
    here.stub.post = lambda path, body: asked.append(post(path, body)) or asked[-1]
    dialect = dialect_of(form)
    yield lambda client: [dialect.greedy(client, PROMPT).log_prob], (dialect.greedy(here, PROMPT), asked[-1])[1]
    prompt = Encoded(PROMPT, ((8,), (9, 10)), (0, 0))
    yield lambda client: dialect.score(client, prompt).sums, (dialect.score(here, prompt), asked[-1])[1]


def outcome(ask, here):
    try:
        return list(ask(here))
    except ModelError as error:
        return error


@pytest.mark.parametrize("form", FORMS)
def test_strange_values_are_refused_in_one_line_or_change_no_value(form):
    errors, values = [], []
    for ask, answer in answers_of(form):
        here = Here(form)
        for here.place in places(answer):
            for here.value in STRANGE:
                result = outcome(ask, here)
                (errors if isinstance(result, ModelError) else values).append(result)
    assert all(len(str(error)) < 500 and "\n" not in str(error) for error in errors)
    assert all(error.hint for error in errors if not isinstance(error, Refused))
    assert len(errors) > 50
    assert all(type(value) is float and math.isfinite(value) and value <= 0 for row in values for value in row)
