"""What a real vLLM answers is read rightly, and its values are those of the same weights here.

vLLM shares no environment with this package (docs/served.md). `vllm.json` has the answers of 0.32.0, built for CPUs,
which served mini-gpt in float32: started with `--served-model-name mini-gpt --dtype float32 --logprobs-mode
processed_logprobs`, sent what is asked for below. Only ids and times of requests were left out.
"""

import json
from pathlib import Path

import pytest

from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.dialects.echo import Echo
from peftbench.served.dialects.next_token import ByIds, NextToken
from tests.served.stub import MODEL, backbone, log_probs

ANSWERS = json.loads(Path(__file__).with_name("vllm.json").read_text())
PROMPT, CHOICES = (5, 6, 7), (9, 10)


class Recorded:
    """Stands in for a client: it has one answer."""

    def __init__(self, name):
        self.answer = ANSWERS[name]

    def post(self, path, body):
        assert path == "/v1/completions"
        assert body["model"] == MODEL
        return self.answer


def ids_of(text):
    return backbone().tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("name", "dialect", "usage"),
    [
        ("ids", NextToken(ByIds(MODEL)), Usage(1, 3, None, 1)),  # without --enable-prompt-tokens-details: no cache told
        ("echo", Echo(MODEL, ids_of), Usage(1, 8, None, 2)),
    ],
)
def test_choices_have_the_values_that_they_have_here(name, dialect, usage):
    prompt = Encoded(PROMPT, tuple((choice,) for choice in CHOICES), (0, 0))
    answer = dialect.score(Recorded(name), prompt)
    expected = [float(log_probs(PROMPT)[-1][choice]) for choice in CHOICES]
    assert answer.sums == pytest.approx(expected, abs=1e-5)
    assert answer.usage == usage


def test_what_it_generates_is_the_likeliest_token_with_its_text():
    generated = NextToken(ByIds(MODEL)).greedy(Recorded("greedy"), PROMPT)
    after = log_probs(PROMPT)[-1]
    assert generated.token == int(after.argmax())
    assert generated.log_prob == pytest.approx(float(after.max()), abs=1e-5)
    assert dict(generated.texts)[(generated.token,)] == " the"


def test_its_page_for_ids_has_the_tokenizers():
    assert ANSWERS["tokenize"]["tokens"] == ids_of("The capital of France is")
