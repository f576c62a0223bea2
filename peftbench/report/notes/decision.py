"""A decision in words: what to do, what would change that, what is uncertain, what to type next."""

from collections.abc import Iterator
from dataclasses import dataclass

from peftbench.report.evidence.break_even import BreakEven
from peftbench.report.evidence.choices import cheapest
from peftbench.report.evidence.decide import AS_GOOD, Best, Decision
from peftbench.report.evidence.lead import Lead
from peftbench.report.evidence.money import PricedRows
from peftbench.report.notes import crossing, money
from peftbench.report.notes.break_even import queries
from peftbench.report.notes.remarks import FEW
from peftbench.report.rows import names, units
from peftbench.report.rows.metric import ACCURACY
from peftbench.report.rows.table import Row

FRACTIONS = {
    2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 7: "a seventh", 8: "an eighth", 9: "a ninth",
    10: "a tenth", 20: "a twentieth", 30: "a thirtieth", 40: "a fortieth", 50: "a fiftieth", 60: "a sixtieth",
    70: "a seventieth", 80: "an eightieth", 90: "a ninetieth", 100: "a hundredth", 1_000: "a thousandth",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A decision with what only its caller knows.

    Args:
        command: To type next.
        choices: Names of the labels, by their index.
        notes: Further things that are uncertain, in words.
        money: What the best prompted and the best tuned cost in money; None where no prices were given.
    """

    decision: Decision
    command: str | None = None
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    money: PricedRows | None = None


def sentence(answer: Answer) -> str:
    """Write the decision for somebody who has a minute."""
    decision = answer.decision
    if decision.verdict == "neither":
        return _neither(answer)
    tuned, prompted, lead = decision.tuned, decision.prompted, decision.lead
    if tuned is None or prompted is None or lead is None:
        missing = "tuned" if tuned is None else "prompted"
        return f"Not enough evidence: nothing was {missing}; {_right(decision, decision.best)}."
    if decision.verdict == "either":
        rights = f"{_name(decision, tuned.row)} ({_hundred(tuned)} of 100 such rows right) and "
        rights += f"{_name(decision, prompted.row)} ({_hundred(prompted)})"
        tie = f"{rights} are as good as far as {decision.num_rows} rows can tell"
        return f"Either: {tie}; {_cheaper(decision)}{_now(decision)}."
    best, other = (tuned, prompted) if decision.verdict == "tune" else (prompted, tuned)
    rights = f"{_right(decision, best)}, {_name(decision, other.row)} on {_hundred(other)}"
    if not lead.is_shown:
        rights += f", shown to be as good to {100 * AS_GOOD:.0f} points"
    return f"{decision.verdict.capitalize()}: {rights}; {_price(decision, best, other)}."


def evidence(answer: Answer) -> str | None:
    """Write that a difference was seen and not shown, and how many rows would show it; None where all is shown."""
    decision = answer.decision
    text, lead = "Not enough evidence to tell which is more accurate", decision.lead
    if decision.verdict == "neither" and decision.majority:
        text, lead = "Not enough evidence that it can be done better", decision.majority.lead
        # What was seen above it may be no more than the luck of the best of several.
        if lead.value <= 0 or decision.best.estimate.value <= decision.majority.share:
            return None
    if lead is None or lead.is_shown or decision.is_as_good:
        return None
    if lead.num_more_rows:
        text += f": about {rounded(lead.num_more_rows):,} more rows would show the {_points(lead.value)} that were seen"
    elif not lead.value:
        text += ": no difference was seen"
    return f"{text}."


def line(decision: Decision) -> str:
    """Write which one costs less, and what to take, for the decision's number of queries."""
    return f"For {queries(decision.num_queries)}: {by_price(decision)}."


def by_price(decision: Decision) -> str:
    """Write the same without the number: it holds from one of the decision's turns to the next."""
    if decision.tuned is None or decision.prompted is None:
        return "there is nothing to compare prices with"
    price = _less(decision)
    match decision.verdict:
        case "neither":
            return f"{price}, and nothing is shown to be worth it"
        case "either":
            assert decision.pick is not None
            return f"{price}; both are as good as these rows can tell, so take {_name(decision, decision.pick.row)}"
        case verdict:
            why = (
                "as good" if decision.is_as_good and not (decision.lead and decision.lead.is_shown) else "more accurate"
            )
            return f"{price}; {verdict}, which is shown to be {why}"


def would_change(answer: Answer) -> Iterator[str]:
    """Write the numbers on which the decision hangs."""
    decision = answer.decision
    if decision.break_even:
        yield f"queries: {_cheaper(decision)}; you asked for {decision.num_queries:,}"
    if answer.money:
        yield from money.decisive(answer.money)
    if decision.lead:
        yield f"accuracy: tuned minus prompted is {measured(decision.lead)}"
        yield f"rows: {_rows(decision.lead, decision.num_rows)}"
    yield from (f"labelled rows: {crossing.sentence(curves)}" for curves in decision.crossings)
    if decision.majority:
        lead, place = decision.majority.lead, "below" if decision.majority.lead.value < 0 else "above"
        yield (
            f"{_always(answer)} is right on {units.percent(decision.majority.share)} of 100 rows: the best is "
            f"{_points(lead.value)} {place} (one-sided {_p_value(lead)})"
        )
    thrifty = cheapest(decision.choices, None, cached=False)
    if thrifty and decision.pick and thrifty.row is not decision.pick.row:
        flops = units.flops(thrifty.flops)
        yield f"cheapest that is not shown to be worse than the best: {names.full(thrifty.row)} ({flops} FLOPs)"


def uncertain(answer: Answer) -> Iterator[str]:
    """Write what may come out otherwise."""
    decision = answer.decision
    for best in (decision.tuned, decision.prompted):
        if best:
            yield from _doubts(decision, best)
    if decision.lead is None:
        yield f"nothing was {'tuned' if decision.tuned is None else 'prompted'}, so that nothing is said of that"
    yield from answer.notes
    if decision.num_clusters < decision.num_rows:
        yield f"of {decision.num_rows} rows some belong together: they count as {decision.num_clusters}"
    if decision.num_clusters < FEW:
        yield f"fewer than {FEW} rows: intervals and tests are rough"
    if decision.table.metric.name != ACCURACY:
        yield f"judged by right answers; the task's metric is {decision.table.metric.title}"
    if decision.majority and not decision.majority.is_by_row:
        yield "which rows have the most frequent label is not recorded: its share is taken for a fixed number"
    if len({candidate.row.model for candidate in decision.candidates}) > 1:
        yield "rows on different models differ in more than the way of learning"
    if any(choice.is_estimated for choice in decision.choices):
        yield "~ training FLOPs by the paper's rule come out too high: the answer then errs against tuning"
    yield from (f"left out: {text}" for text in decision.left_out)
    yield from money.doubts(answer.money) if answer.money else ()
    yield f"costs are FLOPs, {'and no seconds' if answer.money else 'neither seconds nor money'}"


def conventions(decision: Decision) -> Iterator[str]:
    """Write how the numbers were had."""
    yield (
        "accuracy: mean over rows, templates and seeds; its interval is Wilson's, 95 %, with as many rows as give the "
        "standard error over rows (those that belong together are one)"
    )
    if decision.tuned or decision.prompted:
        yield (
            "corrected: for having been the best, by the same rows, of the tuned or of the prompted (bootstrap "
            "bias-corrected cross-validation: chosen on rows that are drawn, scored on the others, 2,000 draws)"
        )
    if decision.lead or decision.majority:
        yield (
            "p and interval of a difference: the best of several against the other side's best, signs of rows flipped "
            "for all at once, 10,000 draws (maxT, Westfall and Young 1993)"
        )
    if decision.crossings:
        yield crossing.CONVENTION
    yield "total FLOPs: training, or filling the cache, and all queries; a multiply-add is two"


def measured(lead: Lead) -> str:
    """Write a difference with its interval and p-value."""
    low, high = map(units.points, lead.interval)
    return f"{units.points(lead.value)} points (95 % interval {low} to {high}, {_p_value(lead)})"


def rounded(number: int) -> int:
    """Round a number of rows to two digits, up."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def share(ratio: float) -> str:
    """Write a ratio of costs in words: a fortieth, half, 3 times as much."""
    if ratio >= 1.5:
        return f"{ratio:,.1f} times as much" if ratio < 10 else f"{float(f'{ratio:.1e}'):,.0f} times as much"
    if ratio > 0.67:
        return "about as much"
    parts = 1 / ratio
    whole = round(parts) if parts < 10 else round(float(f"{parts:.0e}"))
    return FRACTIONS.get(whole, f"1/{whole:,}")


def always(answer: Answer) -> str:
    """Name what needs no model: always the most frequent answer."""
    majority = answer.decision.majority
    return f"always '{answer.choices[majority.label]}'" if majority and answer.choices else "always the most frequent"


def _always(answer: Answer) -> str:
    majority = answer.decision.majority
    name = f"'{answer.choices[majority.label]}'" if majority and answer.choices else "the most frequent label"
    return f"always answering {name}"


def _neither(answer: Answer) -> str:
    decision = answer.decision
    assert decision.majority is not None
    return (
        f"Neither: nothing is shown to be better than {_always(answer)}, which is right on "
        f"{100 * decision.majority.share:.0f} of 100 such rows; the best, {_name(decision, decision.best.row)}, on "
        f"{_hundred(decision.best)}."
    )


def _right(decision: Decision, best: Best) -> str:
    verb = "are" if best.row.is_icl else "is"
    return f"{_name(decision, best.row)} {verb} right on {_hundred(best)} of 100 such rows"


def _hundred(best: Best) -> str:
    return f"{100 * best.estimate.value:.0f}"


def _name(decision: Decision, row: Row) -> str:
    """Name a row in a sentence: "lora on mini-gpt", "16 examples in the prompt"."""
    if row.is_learned:
        return names.title(row)
    label = f" ({names.label(row).replace('calibrate=true', 'calibrated')})" if names.label(row) else ""
    models = {candidate.row.model for candidate in decision.candidates}
    model = f" of {row.model}" if len(models) > 1 else ""
    if row.is_zero_shot:
        return f"the prompt{model} without examples{label}"
    return f"{names.shots(row)} examples in the prompt{model}{label}"


def _price(decision: Decision, best: Best, other: Best) -> str:
    """Write what the decision costs beside the other one."""
    prices, texts = (best.choice.flops, other.choice.flops), []
    if prices[0] is not None and prices[1]:
        texts = [f"for {queries(decision.num_queries)} it costs {share(prices[0] / prices[1])}"]
    if decision.break_even and best is decision.tuned:
        texts.append(_paid(decision.break_even))
    elif decision.break_even:
        texts.append(_cheaper(decision))
    return "; ".join(texts) or "what it costs is not known"


def _less(decision: Decision) -> str:
    """Write which of the two costs less, where prompts are cached and where not."""
    plain, cached = decision.is_tuning_cheaper(), decision.is_tuning_cheaper(cached=True)
    text = "tuning costs less" if plain else "the prompt costs less"
    if decision.prompted is None or decision.prompted.choice.cached_flops is None:
        return text
    other = "the prompt" if plain else "it"
    return f"{text}, cached or not" if plain == cached else f"{text}, but not where {other} is cached"


def _now(decision: Decision) -> str:
    return f", so for {decision.num_queries:,} {_less(decision)}" if decision.break_even else ""


def _paid(pair: BreakEven) -> str:
    if pair.plain is None:
        return "it never pays for itself in FLOPs"
    return f"it has paid for itself after {queries(pair.plain)}{_cached(pair)}"


def _cheaper(decision: Decision) -> str:
    """Write for how many queries prompts are cheaper."""
    pair = decision.break_even
    if pair is None:
        return "which costs less is not known"
    if pair.plain is None:
        return "prompts are cheaper for any number of queries"
    return f"prompts are cheaper below {queries(pair.plain)}{_cached(pair)}"


def _cached(pair: BreakEven) -> str:
    if not pair.icl.is_icl or not pair.has_cached:
        return ""
    return f" ({'never' if pair.cached is None else f'{pair.cached:,}'} if your server caches the prompt)"


def _rows(lead: Lead, num_rows: int) -> str:
    if lead.detectable is None:
        return f"with these {num_rows} no two answers differ"
    text = f"{num_rows} show a true difference of {_points(lead.detectable)} in 80 of 100 cases"
    if lead.num_more_rows:
        text += f"; about {rounded(lead.num_more_rows):,} more would show what was seen"
    return text


def _points(difference: float) -> str:
    return f"{units.percent(abs(difference))} points"


def _p_value(lead: Lead) -> str:
    return f"p = {units.probability(lead.p_value)}".replace("= <", "< ")


def _doubts(decision: Decision, best: Best) -> Iterator[str]:
    """Write the interval of the best of a side, and how it varies with the seed."""
    low, high = map(units.percent, best.estimate.interval)
    name = _name(decision, best.row)
    seen, number = units.percent(best.candidate.accuracy), best.num_candidates
    chosen = f"seen {seen} %, corrected for being the best of {number}" if number > 1 else f"seen {seen} %"
    yield f"{name}: {units.percent(best.estimate.value)} % ({chosen}), 95 % interval {low} to {high}"
    by_seed = best.candidate.by_seed
    if len(by_seed) > 1:
        yield f"{name}: {units.percent(min(by_seed))} to {units.percent(max(by_seed))} % over {len(by_seed)} seeds"
    elif not best.row.is_zero_shot:
        yield f"{name}: one seed, so that nothing says how much other shots would change (--repeats 3)"
