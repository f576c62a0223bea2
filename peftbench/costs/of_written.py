"""FLOPs of the answers of one template that were written: of a query by itself, and of all as they were run."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.costs import count
from peftbench.costs.of_generation import generation_flops
from peftbench.methods.base import Added
from peftbench.models.shapes import Sizes
from peftbench.scoring.generate import Output

EXACT = "all matmuls incl. attention and LM head, multiply-add = 2, the prompt once, then token by token, no padding"
AS_RUN = (
    "all matmuls of writing, multiply-add = 2, what prompts share was run once; padding is left out, and so are tokens "
    "behind an answer's end"
)


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        num_beams: Of the search.
        outputs: The answers of one template.
    """

    num_beams: int
    outputs: Sequence[Output]

    def flops(self, sizes: Sizes, query: count.Query, added: Added | None, *, cached: bool) -> int:
        """Count a query: its prompt and as many tokens as were written, the shots from a cache or not."""
        context = query.shot_tokens + query.input_tokens + (added.extra_tokens if added else 0)
        return generation_flops(
            sizes,
            context,
            query.choice_tokens[0] - sizes.num_fed_more,
            added,
            shared_tokens=query.shot_tokens if cached else 0,
            num_start=_num_start(sizes),
            num_beams=self.num_beams,
            merged=True,
        )

    def run_flops(self, sizes: Sizes, added: Added | None, *, reads_prefix: bool) -> int:
        """Count all answers as they were run, and what their prompts share once, unless it was a saved prefix."""
        shared = max(output.shared_tokens for output in self.outputs)
        once = count.prefill_flops(sizes, shared, added) if shared and not reads_prefix else 0
        return once + sum(
            generation_flops(
                sizes,
                output.context_tokens,
                output.num_tokens,
                added,
                shared_tokens=output.shared_tokens,
                num_start=_num_start(sizes),
                num_beams=self.num_beams,
            )
            for output in self.outputs
        )


def _num_start(sizes: Sizes) -> int:
    return sizes.num_start_tokens if sizes.is_encoder_decoder else 1
