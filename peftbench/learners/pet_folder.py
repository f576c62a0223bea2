"""PET's models on disk: an adapter's folder for each, and pet.json, which says how they answer together."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from safetensors import SafetensorError

from peftbench import registry
from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.learners.pet import Member, PetPredictor
from peftbench.models.backbone import Backbone
from peftbench.spec import limits
from peftbench.spec.cell import Scoring
from peftbench.spec.settings import Settings, checked
from peftbench.store import files, seal
from peftbench.tasks.template import Template

CARD = "pet.json"
FORMAT_VERSION = 1
AGAIN = "copy the folder again, or tune again with --force"


class Part(Settings):
    """One model.

    Args:
        folder: Of its adapter, in this one.
        template: Number of its pattern.
        weight: Of its answers.
        sha256: Of its adapter's tensors.
    """

    folder: str = Field(pattern=r"^[\w-]{1,40}$")
    template: int = Field(ge=0)
    weight: float = Field(ge=0, le=1, allow_inf_nan=False)
    sha256: str


class Card(Settings):
    """The contents of pet.json."""

    format_version: int = FORMAT_VERSION
    models: tuple[Part, ...] = Field(min_length=1, max_length=limits.MAX_SHOTS)


def save(predictor: PetPredictor, folder: Path, beside: Mapping[str, str]) -> Path:
    """Write all models; the folder is there whole or not at all.

    Args:
        predictor: What was trained.
        folder: Where; what is there is replaced.
        beside: Name -> text of what lies beside them.

    Raises:
        MethodError: The folder cannot be written.
    """
    backbone, parts = predictor.backbone, []
    try:
        with files.replacing_folder(folder) as temporary:
            for number, member in enumerate(predictor.members):
                place = temporary / f"model-{number}"
                try:
                    saved.save(place, backbone, member.method, member.config, member.attach(backbone))
                finally:
                    backbone.detach_all()
                sha256 = saved.read(place).sha256
                parts.append(
                    Part(folder=place.name, template=member.pattern.index, weight=member.weight, sha256=sha256)
                )
            card = Card(models=tuple(parts))
            for name, text in {CARD: seal.sealed(card.model_dump_json(indent=2)), **beside}.items():
                (temporary / name).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise MethodError(f"cannot write '{folder}': {error}", hint="nothing half-written was left") from None
    return folder


def load(folder: Path, backbone: Backbone, templates: Mapping[int, Template], scoring: Scoring) -> PetPredictor:
    """Read all models.

    Args:
        folder: Where.
        backbone: That they were trained on, with nothing attached.
        templates: Number -> template, of those that lie beside them.
        scoring: How masks are filled.

    Raises:
        MethodError: A part is missing, damaged, of another folder, or of another model.
    """
    members = []
    for part in read(folder).models:
        card = saved.read(folder / part.folder)
        saved.check_model(folder, card.model, card.fingerprint, backbone, card.model_sha256)
        if card.sha256 != part.sha256 or part.template not in templates:
            raise MethodError(f"'{folder / part.folder}' is not the model that {CARD} names", hint=AGAIN)
        schema = registry.method(card.method).Config
        config = checked(schema, card.config, f"adapter '{folder / part.folder}'", MethodError)
        values = saved.tensors(folder / part.folder, card)
        members.append(Member(templates[part.template], part.weight, card.method, config, values, card.parameters))
    if not any(member.weight for member in members):
        raise MethodError(f"'{folder / CARD}' is damaged: all weights are 0", hint=AGAIN)
    return PetPredictor(backbone, scoring, members, num_shots=0)


def read(folder: Path) -> Card:
    """Read pet.json.

    Raises:
        MethodError: It is missing or damaged.
    """
    return seal.read(folder / CARD, Card, MethodError, AGAIN)
