# %% [markdown]
# # In-context learning and (IA)^3 on one task, from Python
#
# The embedded models answer in seconds on a CPU; `limit` and `num_steps` are small here so that the whole file does.

# %%
import json
from pathlib import Path

import peftbench
from peftbench import Cell, Store, TaskSpec

# %% [markdown]
# A cell is one run: model, task, learner, shots, seed. Each gives one record, with all templates of the task inside.

# %%
hazard = TaskSpec(name="lab-hazard")
cells = [
    Cell(learner="icl", model="mini-gpt", task=hazard, shots=0, limit=20),
    *(Cell(learner="icl", model="mini-gpt", task=hazard, shots=8, seed=seed, limit=20) for seed in (0, 1)),
    Cell(learner="tune", method="ia3", model="mini-t0", task=hazard, shots=8, limit=20, training={"num_steps": 5}),
]

# %% [markdown]
# `run` yields an outcome for each cell, and writes its record under the store's folder. A cell whose record is there
# already is not run again.

# %%
store = Store("results")
for outcome in peftbench.run(cells, store):
    record = outcome.record
    accuracies = ", ".join(f"{result.name} {result.accuracy():.0%}" for result in record.results)
    print(f"{record.learned.method or 'icl'}, {record.learned.num_shots} shots, seed {record.seed}: {accuracies}")

# %% [markdown]
# All records of a folder as a pandas frame, one row for each record and template.

# %%
table = peftbench.frame("results")
print(table.groupby(["method", "model", "shots"])[["accuracy", "inference_flops_per_example"]].median())

# %% [markdown]
# Rows of one's own need a template and the answer choices; what stands before `|||` is the input.

# %%
rows = [{"text": "a fine day", "label": "good"}, {"text": "rain all week", "label": "bad"}] * 6
Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
own = TaskSpec(
    name="weather",
    train=Path("rows.jsonl"),
    test=Path("rows.jsonl"),
    template="{{text}} How was it? ||| {{label}}",
    choices=("good", "bad"),
)
(outcome,) = peftbench.run([Cell(learner="icl", model="mini-gpt", task=own, shots=4)], store)
print(f"{outcome.record.task.name}: {outcome.record.results[0].accuracy():.0%}")
