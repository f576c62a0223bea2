"""How often `decide` is right, on answers whose true accuracies are known: coverage of intervals, wrong verdicts.

Run: python benchmarks/decide.py [--quick] [TIMES]      data sets a line, 400 by default, 20 with --quick, half as many
of the second table: about ten minutes of a core.

Answers come from a model in which a row that is hard is hard for all: `shared` of the variance behind an answer is the
row's own. The first table has the intervals of the chosen one among eight: ours, and the plain percentile bootstrap of
what was chosen, which does not know that it was. The second has the verdicts, four labels, a quarter of the rows each.
"""

import numpy as np

from benchmarks.chosen import chosen
from peftbench.report.evidence import lead, selection
from peftbench.report.evidence.clusters import Clusters
from tests.report.evidence.simulated import right

SIZES, SHARED = (40, 80, 160), (0.3, 0.7)
CHOICES = {
    "eight at 80": [0.8] * 8,
    "eight at 95": [0.95] * 8,
    "eight at 50": [0.5] * 8,
    "55 to 85": list(np.linspace(0.55, 0.85, 8)),
    "six at 50, two at 90": [0.5] * 6 + [0.9] * 2,
}
SIDES = {
    "equal, 4 against 4": ([0.8] * 4, [0.8] * 4),
    "equal, 1 against 7": ([0.8], [0.8] * 7),
    "equal, 1 good of 7 against 1": ([0.6] * 6 + [0.8], [0.8]),
    "tuned 5 points better": ([0.85, 0.85, 0.7, 0.7], [0.8, 0.8, 0.6, 0.6]),
    "tuned 15 points better": ([0.9, 0.8, 0.8, 0.8], [0.75, 0.7, 0.6, 0.5]),
    "prompted 15 points better": ([0.7] * 4, [0.85, 0.8, 0.7, 0.6]),
    "nothing better than 25 %": ([0.25] * 4, [0.25] * 4),
}


def coverage(accuracies, num_rows, shared, num_times, rng):
    """Shares of intervals that cover, ours and the plain one; mean widths; mean errors, corrected and as seen."""
    clusters, sums = Clusters.of(range(num_rows)), np.zeros(6)
    for time in range(num_times):
        answers = right(accuracies, num_rows, rng, shared)
        best = answers.mean(axis=1).argmax()
        truth, seen = accuracies[best], answers[best].mean()
        estimate = selection.corrected(answers, clusters, str(time))
        again = answers[best][rng.integers(num_rows, size=(1_000, num_rows))].mean(axis=1)
        plain = np.quantile(again, (0.025, 0.975))
        for place, (low, high) in enumerate((estimate.interval, plain)):
            sums[place] += low - 1e-9 <= truth <= high + 1e-9
            sums[2 + place] += high - low
        sums[4:] += estimate.value - truth, seen - truth
    return sums / num_times


def verdicts(tuned, prompted, num_rows, shared, num_times, rng):
    """Shares of `tune`, `prompt`, `either` and `neither`; coverage of the difference's interval; mean detectable."""
    clusters, sums = Clusters.of(range(num_rows)), np.zeros(6)
    majority = (np.arange(num_rows) % 4 == 0).astype(float)
    for time in range(num_times):
        answers = right([*tuned, *prompted], num_rows, rng, shared)
        first, second = answers[: len(tuned)], answers[len(tuned) :]
        between = lead.between(first, second, clusters, str(time))
        if not lead.over(answers, majority, clusters, str(time)).is_shown:
            sums[3] += 1
        else:
            sums[2 if not between.is_shown else 0 if between.value > 0 else 1] += 1
        truth = tuned[first.mean(axis=1).argmax()] - prompted[second.mean(axis=1).argmax()]
        sums[4] += between.interval[0] - 1e-9 <= truth <= between.interval[1] + 1e-9
        sums[5] += between.detectable or 0
    return sums / num_times


def table(cases, measure, titles, num_times):
    print(f"| truth | rows | {' | '.join(titles)} |\n|{':---|---:|' + '---:|' * len(titles)}")
    rng = np.random.default_rng(0)
    for name, case in cases.items():
        for num_rows in SIZES:
            values = np.mean([measure(*case, num_rows, shared, num_times, rng) for shared in SHARED], axis=0)
            print(f"| {name} | {num_rows} | {' | '.join(f'{100 * value:.1f}' for value in values)} |", flush=True)
    print()


if __name__ == "__main__":
    (times,) = chosen(("400",), ("20",))
    num_times = int(times)
    titles = ("ours covers %", "plain covers %", "width", "plain width", "error of corrected", "error of seen")
    table({name: (accuracies,) for name, accuracies in CHOICES.items()}, coverage, titles, num_times)
    table(SIDES, verdicts, ("tune %", "prompt %", "either %", "neither %", "covers %", "detectable"), num_times // 2)
