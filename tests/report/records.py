"""Records made by hand for the tests of the report."""

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
            TemplateResult(template=i, name=str(i), num_examples=num_examples, num_correct={"token": right})
            for i, right in enumerate(correct)
        ],
        costs=_costs(tuned, shots, training_flops),
        work={"cut_tokens": 0},
        versions={},
    )


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
