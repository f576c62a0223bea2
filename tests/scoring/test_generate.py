"""What is written: token by token as plain transformers, and as the scores say where something is attached."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from peftbench import registry
from peftbench.errors import MethodError, ModelError
from peftbench.methods.stages import Stages
from peftbench.scoring import generate as generation
from peftbench.scoring.encoded import Encoded
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.generate import contexts, generate, write
from peftbench.scoring.layout import Shot
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from tests.scoring.prompts import example
from tests.tiny import ENCODER_DECODERS, FAMILIES, TEXT, tiny_backbone, tiny_folder

PLAIN = Scoring(end="none", separator="\n\n")
NUM_NEW = 7
SHOTS = [Shot("the premise says that the hypothesis does follow", "yes"), Shot("question positive", "no maybe")]
GREEDY = Decoding(max_new_tokens=NUM_NEW)


def examples(count=6, seed=0):
    rng = random.Random(seed)
    texts = [" ".join(rng.choice(TEXT.split()) for _ in range(rng.randint(1, 9))) for _ in range(count)]
    return [example(text, ("a", "b")) for text in texts]


def plain_model(family, folder):
    auto = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
    return auto.from_pretrained(tiny_folder(family, folder), attn_implementation="eager").eval()


def end_of(row, end):
    return row[: row.index(end)] if end in row else row


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_is_that_of_plain_transformers_one_prompt_at_a_time(family, tmp_path):
    backbone, model = tiny_backbone(family), plain_model(family, tmp_path / family)
    model.generation_config.update(eos_token_id=1, forced_eos_token_id=None)
    prompts = contexts(backbone, examples(), PLAIN, SHOTS)
    start = torch.tensor([backbone.start_ids]) if family in ENCODER_DECODERS else None
    expected = []
    for ids in prompts:
        more = {} if start is None else {"decoder_input_ids": start}
        row = model.generate(torch.tensor([ids]), max_new_tokens=NUM_NEW, do_sample=False, pad_token_id=0, **more)
        expected.append(end_of(row[0, len(ids) if start is None else start.shape[1] :].tolist(), 1))
    written = write(backbone, prompts, GREEDY)
    assert [part.num_tokens for part in written] == [min(len(ids) + 1, NUM_NEW) for ids in expected]
    assert [part.text for part in written] == [
        backbone.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in expected
    ]
    assert len({part.context_tokens for part in written}) > 2
    assert any(part.shared_tokens for part in written) == (family not in ENCODER_DECODERS)


def naive(backbone, context, num_new):
    """The most probable token again and again, each by a pass of its own over the whole text, as scores are made."""
    size, ids, end = backbone.sizes.vocab_size, [], backbone.tokenizer.eos_token_id
    for _ in range(num_new):
        choices = tuple((*ids, token) for token in range(size))
        batch = [Encoded(tuple(context), choices, (len(ids),) * size)]
        if backbone.is_encoder_decoder:
            batch = [Encoded(tuple(context), choices, (0,) * size)]
        with torch.inference_mode():
            log_probs, mask = choice_log_probs(backbone, batch)
        last = mask[0].sum(-1) - 1
        ids.append(int(log_probs[0, torch.arange(size), last].argmax()))
        if ids[-1] == end:
            break
    return ids


def attached(family, name, seed=0):
    backbone, method = tiny_backbone(family), registry.method(name)
    torch.manual_seed(seed)
    names = method.attach(backbone, method.Config())
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    Stages(method, backbone, method.Config(), names).finish()
    return backbone


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("name", registry.METHODS)
def test_with_any_method_the_tokens_are_those_that_score_highest(name, family):
    backbone = attached(family, name)
    prompts = contexts(backbone, examples(3, seed=1), PLAIN)
    expected = [naive(backbone, prompt, 4) for prompt in prompts]
    written = write(backbone, prompts, Decoding(max_new_tokens=4))
    end = backbone.tokenizer.eos_token_id
    texts = [backbone.tokenizer.decode(end_of(ids, end), skip_special_tokens=True).strip() for ids in expected]
    assert [part.text for part in written] == texts
    assert [part.num_tokens for part in written] == [len(ids) for ids in expected]


def test_shots_that_all_prompts_begin_with_change_no_token():
    backbone = tiny_backbone("llama")
    prompts = contexts(backbone, examples(), PLAIN, SHOTS * 3)
    together, alone = write(backbone, prompts, GREEDY), [write(backbone, [prompt], GREEDY)[0] for prompt in prompts]
    assert [part.text for part in together] == [part.text for part in alone]
    of_shots = len(prompts[0]) - len(contexts(backbone, examples(), PLAIN)[0])
    assert all(of_shots <= part.shared_tokens < of_shots + 3 for part in together)
    assert {part.shared_tokens for part in alone} == {0}


@pytest.mark.parametrize("family", ["llama", "gemma2", "t5"])
def test_beams_are_those_of_plain_transformers(family, tmp_path):
    backbone, model = tiny_backbone(family), plain_model(family, tmp_path / family)
    rules = {"num_beams": 3, "length_penalty": 0.8, "no_repeat_ngram_size": 2}
    (prompt,) = contexts(backbone, examples(1), PLAIN)
    more = {"decoder_input_ids": torch.tensor([backbone.start_ids])} if family == "t5" else {}
    model.generation_config.eos_token_id = 1
    row = model.generate(torch.tensor([prompt]), max_new_tokens=9, do_sample=False, pad_token_id=0, **rules, **more)
    ids = end_of(row[0, 1 if more else len(prompt) :].tolist(), 1)
    (found,) = write(backbone, [prompt], Decoding(max_new_tokens=9, **rules))
    assert found.text == backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert found.text != write(backbone, [prompt], Decoding(max_new_tokens=9))[0].text


@pytest.mark.parametrize("num_new", [1, 4])
def test_no_other_cut_into_batches_costs_less(num_new):
    """Against all ways to cut prompts in the order of their lengths."""
    backbone, rng = tiny_backbone("llama"), random.Random(num_new)
    prompts = [[5] * rng.choice([2, 3, 40, 60, 90, 100]) for _ in range(9)]
    lengths = sorted(map(len, prompts), reverse=True)

    def cost(parts):
        return sum(len(part) * part[0] + generation.TOKENS_PER_STEP * num_new for part in parts)

    def cuts(rest):
        yield [rest]
        for end in range(1, len(rest)):
            yield from ([rest[:end], *others] for others in cuts(rest[end:]))

    found = generation._batches(backbone, prompts, Decoding(max_new_tokens=num_new), is_shared=False)
    assert sorted(index for batch in found for index in batch) == list(range(9))
    best = min(map(cost, cuts(lengths)))
    assert cost([[len(prompts[index]) for index in batch] for batch in found]) == best < cost([lengths])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_has_no_more_rows_than_there_is_room_for(num_beams, monkeypatch):
    monkeypatch.setattr(generation, "MAX_KEPT_TOKENS", 1200)
    decoding = Decoding(max_new_tokens=10, num_beams=num_beams)
    found = generation._batches(tiny_backbone("llama"), [[5] * 90] * 30, decoding, is_shared=False)
    assert {len(batch) for batch in found[1:]} == {12 // num_beams}


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_an_answer_ends_before_the_first_stop_and_counts_tokens_up_to_it(family):
    backbone = tiny_backbone(family)
    prompts = contexts(backbone, examples(4, seed=2), PLAIN)
    whole = write(backbone, prompts, Decoding(max_new_tokens=12))
    stop = whole[0].text[2:5]
    found = write(backbone, prompts, Decoding(max_new_tokens=12, stop=(stop, "never there")))
    for before, after in zip(whole, found, strict=True):
        assert after.text == before.text.partition(stop)[0].strip()
        assert after.is_cut == (before.is_cut and stop not in before.text)
        assert after.num_tokens <= before.num_tokens
    assert found[0].num_tokens < whole[0].num_tokens


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_whatever_ends_an_answer_is_seen_with_the_token_that_completes_it(family, monkeypatch):
    """As where each row is read after each token; blanks, which a token that is read alone may lose, are among them."""
    backbone = tiny_backbone(family)
    (prompt,) = contexts(backbone, examples(1, seed=2), PLAIN)
    (whole,) = write(backbone, [prompt], Decoding(max_new_tokens=8))
    stops = {whole.text[start:end] for start in (0, 3, 5) for end in (start + 1, start + 4)} | {" "}
    decodings = [Decoding(max_new_tokens=8, stop=(stop,)) for stop in sorted(stops) if stop]
    found = [write(backbone, [prompt], decoding) for decoding in decodings]
    monkeypatch.setattr(generation.Stop, "_may_complete", lambda *_: True)
    assert found == [write(backbone, [prompt], decoding) for decoding in decodings]
    assert sum(part.num_tokens < whole.num_tokens for (part,) in found) > 2


def test_the_separator_between_shots_ends_an_answer_in_plain_text():
    backbone = tiny_backbone("llama")
    (plain,) = generate(backbone, examples(1), PLAIN, GREEDY)
    separator = plain.text[1:3]
    (found,) = generate(backbone, examples(1), Scoring(end="none", separator=separator), GREEDY)
    assert separator in plain.text
    assert found.text == plain.text.partition(separator)[0].strip()


def test_the_models_own_settings_of_generation_are_left_out_and_stay():
    backbone = tiny_backbone("llama")
    (before,) = generate(backbone, examples(1), PLAIN, GREEDY)
    config = backbone.model.generation_config
    config.update(repetition_penalty=9.0, no_repeat_ngram_size=1, do_sample=True, temperature=3.0)
    assert generate(backbone, examples(1), PLAIN, GREEDY) == [before]
    assert backbone.model.generation_config is config


def test_what_does_not_write_or_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ModelError, match="fills a mask in a text, and writes none"):
        generate(tiny_backbone("bert"), examples(1), PLAIN, GREEDY)
    backbone = tiny_backbone("gpt2")
    most = backbone.max_positions
    with pytest.raises(ModelError, match=f"an answer of up to {most:,} do not fit") as error:
        generate(backbone, examples(1), PLAIN, Decoding(max_new_tokens=most))
    assert "max_new_tokens" in error.value.hint
    voting = registry.method("prompt_tuning")
    voting.attach(backbone, voting.Config(num_prompts=3))
    with pytest.raises(MethodError, match="3 soft prompts vote on choices"):
        generate(backbone, examples(1), PLAIN, GREEDY)


def test_an_empty_answer_is_an_answer():
    backbone = tiny_backbone("llama")
    (first,) = write(backbone, [[5, 6, 7]], Decoding(max_new_tokens=1))
    (found,) = write(backbone, [[5, 6, 7]], Decoding(max_new_tokens=3, stop=(first.text[:1],)))
    assert (found.text, found.num_tokens, found.is_cut) == ("", 1, False)
