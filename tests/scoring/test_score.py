from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from peftbench.errors import ModelError, RunError
from peftbench.scoring.ranking import ChoiceScore, predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import CHOICES, SEPARATOR, example, prompts
from tests.tiny import ENCODER_DECODERS, FAMILIES, TEXT, tiny_backbone, tiny_folder, tiny_tokenizer

DECODERS = [family for family in FAMILIES if family not in ENCODER_DECODERS]


def log_probs(scores):
    return [[choice.log_prob for choice in choices] for choices in scores.choices]


def assert_equal_scores(found, expected, tolerance=1e-4):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=tolerance)


@torch.no_grad()
def by_plain_transformers(folder, batch, end):
    """Each (prompt, choice) alone through the plain model with its own eager attention."""
    auto = AutoModelForSeq2SeqLM if folder.name in ENCODER_DECODERS else AutoModelForCausalLM
    model = auto.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = tiny_tokenizer(folder.name)
    return [alone(model, tokenizer, prompt, end) for prompt in batch]


def alone(model, tokenizer, prompt, end):
    tail = [tokenizer.eos_token_id] if end == "eos" else []
    close = SEPARATOR if end == "separator" else ""
    sums = []
    for choice in prompt.choices:
        if model.config.is_encoder_decoder:
            answer = tokenizer(choice + close, add_special_tokens=False).input_ids + tail
            opening = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []  # BART's labels have it
            labels = torch.tensor([opening + answer])
            logits = model(**tokenizer(prompt.input, return_tensors="pt"), labels=labels).logits[0, len(opening) :]
        else:
            answer = tokenizer(f" {choice}{close}", add_special_tokens=False).input_ids + tail
            ids = tokenizer(prompt.input).input_ids + answer
            logits = model(torch.tensor([ids])).logits[0, -len(answer) - 1 : -1]
        sums.append(sum(logits.log_softmax(-1)[t, token].item() for t, token in enumerate(answer)))
    return sums


@pytest.mark.parametrize("end", ["eos", "separator", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_choice_scores_as_it_does_alone_in_the_plain_model(family, end, tmp_path):
    batch = prompts(4)
    expected = by_plain_transformers(tiny_folder(family, tmp_path / family), batch, end)
    found = score(tiny_backbone(family), batch, Scoring(end=end, separator=SEPARATOR))
    assert_equal_scores(log_probs(found), expected)
    assert [predict(c, "none") for c in found.choices] == [row.index(max(row)) for row in expected]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_batch_size_changes_no_score_and_no_prediction(family):
    backbone, batch = tiny_backbone(family), prompts(16)
    together = score(backbone, batch, Scoring(end="none", separator=SEPARATOR), token_budget=10_000)
    alone = score(backbone, batch, Scoring(end="none", separator=SEPARATOR), token_budget=1)
    assert_equal_scores(log_probs(together), log_probs(alone))
    assert list(map(predict, together.choices)) == list(map(predict, alone.choices))


class Virtual(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self):
        return self.weight


class Prefix(nn.Module):
    def __init__(self, attention, num_keys=3):
        super().__init__()
        self.k, self.v = (nn.Parameter(torch.randn(attention.num_kv_heads, num_keys, attention.d_kv)) for _ in "kv")

    def forward(self):
        return self.k, self.v


def tuned(family):
    torch.manual_seed(1)
    backbone = tiny_backbone(family)
    backbone.set_soft_prompt(Virtual(torch.randn(4, backbone.sizes.d_model)))
    for attention in backbone.attentions():
        backbone.insert_prefix(attention, Prefix(attention))
    return backbone


@pytest.mark.parametrize("make", [tiny_backbone, tuned])
@pytest.mark.parametrize("num_shots", [0, 4])
@pytest.mark.parametrize("family", DECODERS)
def test_sharing_keys_and_values_changes_no_score(family, num_shots, make):
    backbone, batch = make(family), prompts(8, num_shots)
    shared = score(backbone, batch, Scoring(end="eos", separator=SEPARATOR))
    plain = score(backbone, batch, Scoring(end="eos", separator=SEPARATOR, cache=False))
    assert_equal_scores(log_probs(shared), log_probs(plain))
    assert any(shape.cached_tokens for shape in shared.work.passes) == bool(shared.work.shared_tokens)
    assert not any(shape.cached_tokens for shape in plain.work.passes)


@pytest.mark.parametrize("budget", [None, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_sharing_strays_no_further_than_the_plain_path_does(family, budget):
    """Twice as far at most, in batches of any size; the same choice is best where the margin is larger than that."""
    backbone, batch = tiny_backbone(family), prompts(8)
    exact = score(backbone, batch, Scoring(end="none", separator=SEPARATOR, cache=False))
    backbone.model.to(torch.bfloat16)
    plain = score(backbone, batch, Scoring(end="none", separator=SEPARATOR, cache=False))
    shared = score(backbone, batch, Scoring(end="none", separator=SEPARATOR), token_budget=budget)
    most = 2 * largest_difference(plain, exact)
    assert 0 < largest_difference(shared, exact) <= most
    for found, expected in zip(log_probs(shared), log_probs(exact), strict=True):
        first, second, *_ = sorted(expected, reverse=True)
        assert first - second <= 2 * most or found.index(max(found)) == expected.index(first)


def largest_difference(found, expected):
    rows = zip(log_probs(found), log_probs(expected), strict=True)
    return max(abs(a - b) for ours, theirs in rows for a, b in zip(ours, theirs, strict=True))


def test_the_work_counts_each_token_where_it_is_run():
    backbone = tiny_backbone("gpt2")
    batch = [example("x yes", ("yes", "no yes no")), example("x no yes", ("yes", "no yes no"))]
    found = score(backbone, batch, Scoring(end="none", separator=SEPARATOR))
    assert found.work.shared_tokens == 1
    assert found.work.context_tokens == 1 + 2
    assert found.work.choice_tokens == 2 * 2  # "yes" and the last token of "no yes no" are only predicted
    assert found.work.padding_tokens == 0
    assert [length.context for length in found.lengths] == [2, 3]
    assert found.lengths[0].choices == (0, 2)


def test_scores_carry_the_lengths_of_the_answer():
    (choices,) = score(
        tiny_backbone("gpt2"), [example("no", ("yes", "\u00e9t\u00e9"))], Scoring(end="eos", separator="")
    ).choices
    assert (choices[0].num_tokens, choices[0].num_chars, choices[0].num_bytes) == (2, 3, 3)
    assert (choices[1].num_chars, choices[1].num_bytes) == (3, 5)


def test_scoring_leaves_no_gradient_and_reports_progress():
    backbone = tiny_backbone("t5")
    backbone.train_only(["shared.weight"])
    done = []
    score(backbone, prompts(5), Scoring(end="eos", separator=SEPARATOR), progress=done.append, token_budget=1)
    assert sum(done) == 5
    assert backbone.embeddings.weight.grad is None


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_a_model_that_overflows_is_not_ranked(family):
    backbone = tiny_backbone(family)
    backbone.embeddings.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="no finite log-probability"):
        score(backbone, prompts(2), Scoring(end="none", separator=SEPARATOR))


def test_no_prompts_give_no_scores():
    assert score(tiny_backbone("gpt2"), [], Scoring(end="none", separator="")).choices == []


@pytest.mark.parametrize("cache", [True, False])
def test_a_prompt_longer_than_the_model_takes_is_refused_with_both_numbers(cache):
    with pytest.raises(ModelError, match=r"a prompt has 600 tokens, and '.*' takes 512") as error:
        score(
            tiny_backbone("gpt2"),
            [example("yes" + " yes" * 599, CHOICES[:1])],
            Scoring(end="none", separator="", cache=cache),
        )
    assert "--max-input-tokens" in error.value.hint


def test_a_prompt_that_just_fits_is_scored():
    (choices,) = score(
        tiny_backbone("gpt2"), [example("yes" + " yes" * 511, ("no",))], Scoring(end="none", separator="")
    ).choices
    assert choices[0].num_tokens == 1


def test_predict_divides_by_the_length_asked_for_and_takes_the_first_of_equals():
    short, long = ChoiceScore(-2.0, 1, 2, 8), ChoiceScore(-3.0, 3, 4, 8)
    assert predict([short, long], "none") == 0
    assert predict([short, long], "token") == 1
    assert predict([short, long], "char") == 1
    assert predict([short, long], "byte") == 0
    assert predict([short, short]) == 0


def failing(backbone, calls):
    """Let the second layer's feed-forward block run out of memory where `calls` says so, given the tokens of a pass."""
    layer = backbone.model.get_submodule(backbone.layers()[-1].module)

    def hook(_module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        if calls(hidden.shape[0] * hidden.shape[1]):
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: error code 12"
            )

    return layer.register_forward_pre_hook(hook, with_kwargs=True)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("family", ["t5", "gpt2", "mistral"])
def test_where_memory_does_not_suffice_batches_are_halved_and_the_work_says_so(family, cache):
    backbone, batch = tiny_backbone(family), prompts(8, num_shots=1)
    expected = score(backbone, batch, Scoring(end="none", separator=SEPARATOR, cache=cache))
    largest = max(each.decoder_rows * each.decoder_tokens for each in expected.work.passes[-1:])
    handle = failing(backbone, lambda tokens: tokens > max(60, largest // 3))
    done = []
    found = score(backbone, batch, Scoring(end="none", separator=SEPARATOR, cache=cache), progress=done.append)
    handle.remove()
    assert_equal_scores(log_probs(found), log_probs(expected))
    assert found.work.num_halvings > 0 == expected.work.num_halvings
    assert sum(done) == 8
    assert found.work.context_tokens == expected.work.context_tokens


def test_memory_that_does_not_suffice_for_one_prompt_is_an_error_and_other_failures_stay_what_they_are():
    backbone = tiny_backbone("gpt2")
    handle = failing(backbone, lambda tokens: tokens != 24)
    with pytest.raises(RunError, match="does not suffice for one prompt of"):
        score(backbone, prompts(4, num_shots=0), Scoring(end="none", separator=SEPARATOR))
    handle.remove()
    handle = failing(backbone, lambda tokens: True)  # where they share their shots, the pass over these fails
    with pytest.raises(RunError, match="does not suffice for one prompt of"):
        score(backbone, prompts(4, num_shots=3), Scoring(end="none", separator=SEPARATOR))
    handle.remove()
    layer = backbone.model.get_submodule(backbone.layers()[0].module)
    layer.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="shapes"):
        score(backbone, prompts(4, num_shots=0), Scoring(end="none", separator=SEPARATOR))


WORDS = st.lists(st.sampled_from(TEXT.split()), min_size=1, max_size=9).map(" ".join)
FEW = st.sampled_from(["yes", "no", "yes no"])
ALIKE = st.lists(FEW, min_size=1, max_size=5).map(" ".join)  # choices of few words begin alike
ONE = st.tuples(WORDS, st.lists(WORDS | ALIKE, min_size=2, max_size=7, unique=True))
loaded = cache(tiny_backbone)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    head=st.sampled_from(["", "the premise\nquestion? yes\n\n", "maybe"]),
    queries=st.lists(ONE, min_size=1, max_size=6),
    budget=st.integers(1, 200),
    data=st.data(),
)
@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_the_prompts_their_order_and_the_budget_sharing_is_exact(family, head, queries, budget, data):
    batch = [example(f"{head}{text}", tuple(choices)) for text, choices in queries]
    order = data.draw(st.permutations(range(len(batch))))
    plain = score(loaded(family), batch, Scoring(end="eos", separator=SEPARATOR, cache=False), token_budget=1)
    found = score(
        loaded(family), [batch[i] for i in order], Scoring(end="eos", separator=SEPARATOR), token_budget=budget
    )
    for place, index in enumerate(order):
        expected = [choice.log_prob for choice in plain.choices[index]]
        assert [choice.log_prob for choice in found.choices[place]] == pytest.approx(expected, abs=1e-4)
        best, second = sorted((choice.value() for choice in plain.choices[index]), reverse=True)[:2]
        assert best - second < 1e-4 or predict(found.choices[place]) == predict(plain.choices[index])
