"""`peftbench export`: an adapter for other tools."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from peftbench.cli.options import FLAG, ScoringOptions


def export(
    adapter: Annotated[Path, Argument(help="Folder that `tune` wrote.", metavar="ADAPTER")],
    out: Annotated[Path, Argument(help="Folder to be written.", metavar="OUT")],
    to: Annotated[
        Literal["peft", "merged"],
        Option(help="peft: a folder for PeftModel.from_pretrained. merged: a plain checkpoint, the adapter folded in."),
    ],
    model: Annotated[str | None, Option(help="Where the model is now, if not where it was.", metavar="NAME")] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No remarks.", metavar=FLAG)] = False,
) -> None:
    """Write an adapter so that other tools load it."""
    from peftbench.cli.progress import loading, watch

    progress = watch(quiet=quiet)
    with loading(progress):
        from peftbench.adapters import merged, saved
        from peftbench.adapters.peft import write
        from peftbench.models.load import load
    card = saved.read(adapter)
    with progress.waiting("loading the model"):
        backbone = load(model or card.model, revision=card.revision)
    if to == "peft":
        kind = write.export(adapter, backbone, out)
        progress.say(f"{card.method} on {card.model}, as peft has it ({kind}), in {out}")
        source = write.source(backbone)
        progress.say(
            f"\nnext, in Python: peft.PeftModel.from_pretrained(model, {str(out)!r}); model: what transformers loads "
            f"from {source}"
        )
        return
    with progress.waiting("folding and comparing"):
        agreement = merged.merge(adapter, backbone, out)
    progress.say(
        f"{card.method} on {card.model}, folded, in {out}: a plain {backbone.model.config.model_type} checkpoint\n"
        f"logits loaded with transformers, largest {agreement.largest:.1f}: "
        f"differ by {agreement.float32:.1e} in float32, by {agreement.bfloat16:.1e} in bfloat16"
    )
    progress.say(f"\nnext: peftbench icl --shots 0 --model {shlex.quote(str(out))}{_turns(adapter)}")


def _turns(adapter: Path) -> str:
    """Write the options by which the prompts were turns that an adapter was tuned on."""
    from peftbench.flow import usage

    path = adapter / usage.FILE
    if not path.exists():
        return ""
    scoring = usage.read(path).scoring
    return ScoringOptions(chat=scoring.chat, system=scoring.system).typed()
