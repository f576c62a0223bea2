"""Penn Treebank tokens, by hand and by Stanford's program."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from peftbench.metrics import ptb
from tests.metrics.needs import needs
from tests.real import read

TEXTS = {
    "It's £20-25.": "it 's # 20-25",
    "It isn't near. Food, cheap!": "it is n't near food cheap",
    'The "Blue Spice" is family friendly..': "the blue spice is family friendly",
    "Made in the U.S. by J. Smith. He left.": "made in the u.s. by j. smith he left",
    "J. Smith left.": "j. smith left",
    "a well-known pub - cheap \u2013 by the river": "a well-known pub cheap by the river",
    "It\u2019s \u201cgood\u201d.": "it 's good",
    "-5 to 20-£25, or.so": "-5 to 20 # 25 or.so",
    "café (rated 5)": "café ( rated 5 )",
    "...": "",
}


@needs("rouge_l")
@pytest.mark.parametrize(("text", "tokens"), TEXTS.items())
def test_tokens_by_hand(text, tokens):
    assert " ".join(ptb.tokens(text)) == tokens


def by_stanford(texts):
    """What the E2E challenge's script makes of texts; its brackets have names there."""
    (folder,) = importlib.util.find_spec("pycocoevalcap").submodule_search_locations
    jar = Path(folder, "tokenizer", "stanford-corenlp-3.4.1.jar")
    words = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run(words, input="\n".join(texts) + "\n", capture_output=True, encoding="utf-8", check=True)
    lines = [line.replace("-lrb-", "(").replace("-rrb-", ")").split() for line in done.stdout.splitlines()]
    return [[word for word in words if word not in ptb.PUNCTUATION] for words in lines]


@needs("meteor")
def test_tokens_are_stanfords():
    assert by_stanford(TEXTS) == [list(ptb.tokens(text)) for text in TEXTS]


@needs("meteor")
@pytest.mark.real_data
def test_tokens_of_published_outputs_are_stanfords():
    rows = read("nlg_golden/e2e_tgen.jsonl")[::8] + read("nlg_golden/dart_bart_large.jsonl")[::80]
    texts = [text for row in rows for text in (row["output"], *row["references"]) if text]
    assert len(texts) > 800
    assert by_stanford(texts) == [list(ptb.tokens(text)) for text in texts]
