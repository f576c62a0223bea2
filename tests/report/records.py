"""Records made by hand for the tests of the report."""

import random

from peftbench import registry
from peftbench.store.record import Cost, Learned, ModelInfo, Record, TaskInfo, TemplateResult, identify

SIZES = {"mini-t0": 3_690_000, "mini-gpt": 2_810_000}


def record(
    method="ICL",
    model="mini-gpt",
    task="nli",
    *,
    shots=32,
    used=None,
    seed=0,
    correct=(150, 180),
    num_examples=300,
    training_flops=None,
    **identity,
):
    tuned = None if method == "ICL" else method
    facts = {"learner": "tune" if tuned else "icl", "model": model, "task": task, "method": tuned, "shots": shots}
    facts |= {"seed": seed} | identity
    return Record(
        id=identify(facts | {"n": num_examples}),
        created_at="2026-01-01T00:00:00+00:00",
        identity=facts,
        model=ModelInfo(
            name=model,
            revision=None,
            fingerprint="f" * 64,
            family="t5",
            is_encoder_decoder=True,
            num_parameters=SIZES.get(model, 1_000_000),
            dtype="float32",
            device="cpu",
        ),
        task=TaskInfo(name=task, family="f", version=1, sha256="s" * 64, chance=0.5, metric="accuracy"),
        learned=Learned(
            learner=facts["learner"],
            num_shots=shots if used is None else used,
            shot_ids=[],
            method=tuned,
            num_trained_parameters=6144 if tuned else 0,
        ),
        seed=seed,
        end="eos",
        results=[
            TemplateResult(
                template=i, name=str(i), num_examples=num_examples, num_correct={"token": min(right, num_examples)}
            )
            for i, right in enumerate(correct)
        ],
        costs=_costs(tuned, shots, training_flops),
        work={"cut_tokens": 0},
        versions={},
    )


def under(metric, made, share=0.6, size=2):
    """The record with answers made by chance to its examples, and the value of a metric; classes are unequal."""
    rng, labels_of = random.Random(made.id), random.Random(made.task.name)
    labels = [labels_of.choices(range(size), range(1, size + 1))[0] for _ in range(made.results[0].num_examples)]
    results = []
    for result in made.results:
        predictions = [label if rng.random() < share else rng.randrange(size) for label in labels]
        right = "".join("01"[p == label] for p, label in zip(predictions, labels, strict=True))
        facts = {"num_correct": {"token": right.count("1")}, "right": right}
        if metric != "accuracy":
            facts |= {"predictions": predictions, "labels": labels}
            facts |= {"values": {"token": registry.metric(metric).of(predictions, labels)}}
        results.append(result.model_copy(update=facts))
    chance = registry.metric(metric).chance(labels, [size] * len(labels))
    task = made.task.model_copy(update={"metric": metric, "chance": chance})
    return made.model_copy(update={"results": results, "task": task})


def _costs(tuned, shots, training_flops):
    def flops(name, value, kind):
        return Cost(name=name, value=value, unit="FLOPs", kind=kind, convention="c")

    training = training_flops or 9_100_000_000_000
    return [
        flops("inference_flops_per_example", 47_000_000 * (1 if tuned else 1 + shots), "counted"),
        flops("training_flops", training, "estimated") if tuned else flops("training_flops", 0, "counted"),
        Cost(
            name="disk_bytes", value=26_100 if tuned else 40 * shots, unit="bytes", kind="measured", convention="file"
        ),
    ]
