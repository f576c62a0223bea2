"""What a record says of PET: of its models, or of the student that they taught with all that they took."""

from dataclasses import replace
from typing import Any

from peftbench import registry
from peftbench.costs.of_cell import Facts, ScoredRows
from peftbench.learners import tune
from peftbench.learners.learn import Distilled, Ensembled
from peftbench.learners.pet import Pet, PetPredictor
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes


def learned(learned: Ensembled | Distilled) -> dict[str, Any]:
    """List what the record's `learned` says beside the shots; all that was trained, and what is saved."""
    models = _models(learned)
    trained, saved = list(models.trained), sum(member.num_saved for member in models.members)
    num_head = None
    if isinstance(learned, Distilled):
        trained.append(learned.student.predictor)
        saved, num_head = trained[-1].num_saved_parameters, trained[-1].num_head_parameters
    return {
        "training": learned.learner.tuning.training.model_dump(mode="json"),
        "num_trained_parameters": sum(predictor.num_trained_parameters for predictor in trained),
        "num_saved_parameters": saved,
        "num_unreached_parameters": sum(predictor.num_unreached_parameters for predictor in trained),
        "num_head_parameters": num_head,
    }


def facts(learned: Ensembled | Distilled, backbone: Backbone) -> dict[str, Any]:
    """List what costs are computed from, beside the queries: of the models, or of the student and its teachers."""
    if isinstance(learned, Ensembled):
        return _of_models(learned.learner, learned.predictor, backbone.sizes)
    student, sizes = learned.student, replace(backbone.sizes, num_classes=0)
    tensors = backbone.tensors_named(student.predictor.names)
    beside = {*student.predictor.head_names, *student.predictor.own_names}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in beside}
    lengths = student.labelling.lengths
    teachers = Facts(
        sizes=sizes,
        num_parameters=backbone.num_parameters,
        bytes_per_value=backbone.dtype.itemsize,
        scored=[ScoredRows(lengths, (), len(student.labelling.choices), 0, 0)],
        passes=student.labelling.work.passes,
        adapter=None,
        learn_seconds=0.0,
        score_seconds=0.0,
        **_of_models(learned.learner, student.teachers, sizes),
    )
    return {
        "trained": student.predictor.work,
        "teachers": teachers,
        **_added(learned.learner, backbone.sizes, shapes),
    }


def work(learned: Ensembled | Distilled) -> dict[str, int]:
    """Count tokens that were trained on, and the rows that a student learned from."""
    parts = [predictor.work for predictor in _models(learned).trained]
    parts += [learned.student.predictor.work] if isinstance(learned, Distilled) else []
    counts = {
        "training_tokens": sum(part.num_tokens for part in parts),
        "training_padding_tokens": sum(part.num_padding_tokens for part in parts),
    }
    if learned.learner.tuning.training.stop != "never":
        counts["training_steps"] = sum(part.num_steps for part in parts)
    return counts | ({"unlabelled_rows": len(learned.learner.unlabelled)} if isinstance(learned, Distilled) else {})


def _models(learned: Ensembled | Distilled) -> PetPredictor:
    return learned.predictor if isinstance(learned, Ensembled) else learned.student.teachers


def _of_models(learner: Pet, models: PetPredictor, sizes: Sizes) -> dict[str, Any]:
    return {
        "trained": models.work,
        "weighing": models.weighing,
        **_added(learner, sizes, dict(models.members[0].shapes)),
    }


def _added(learner: Pet, sizes: Sizes, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    tuning = learner.tuning
    method = registry.method(tuning.method)
    return {
        "added": tune.added(tuning, sizes, method.added(sizes, tuning.config)),
        "left": tune.added(tuning, sizes, method.added_finished(sizes, tuning.config, shapes)),
    }
