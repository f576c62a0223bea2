"""The paper's rule of thumb: FLOPs per token from the parameter count alone. Kind `estimated`; `count.py` is exact."""


def inference_flops(num_parameters: int, num_tokens: int, *, is_encoder_decoder: bool) -> int:
    """Estimate a forward pass: 2 N FLOPs per token, N where a token sees only one half of the model.

    Attention scores, embeddings and elementwise work are left out, as in the paper.

    Args:
        num_parameters: N, the embeddings included.
        num_tokens: Tokens of the prompt and of all answer choices together.
        is_encoder_decoder: Whether a token passes through only one of two stacks.

    Returns:
        FLOPs; a multiply-add is two.

    Paper: 2205.05638, section 4.2, after 2001.08361.
    """
    return (1 if is_encoder_decoder else 2) * num_parameters * num_tokens


def training_flops(
    num_parameters: int, num_tokens: int, *, num_steps: int, batch_size: int, is_encoder_decoder: bool
) -> int:
    """Estimate training: a step costs three forward passes, so 6 N FLOPs per token (3 N for encoder-decoders).

    Args:
        num_parameters: N, the embeddings included, frozen ones too.
        num_tokens: Tokens of one example with all its answer choices.
        num_steps: Optimiser steps.
        batch_size: Examples per step.
        is_encoder_decoder: Whether a token passes through only one of two stacks.

    Returns:
        FLOPs of the whole training.

    Paper: 2205.05638, section 4.2.
    Differs: Frozen weights get no gradients, so parameter-efficient training costs about two thirds of this.
    """
    forward = inference_flops(num_parameters, num_tokens, is_encoder_decoder=is_encoder_decoder)
    return 3 * forward * num_steps * batch_size


def break_even_queries(training_flops: int, icl_flops: int, tuned_flops: int) -> int | None:
    """Count the queries from which on training has paid for itself.

    ceil(training / (icl - tuned))

    Args:
        training_flops: What training costs once, above what in-context learning costs once.
        icl_flops: Per query, with the shots in the prompt (or in the cache).
        tuned_flops: Per query, after tuning.

    Returns:
        Queries; None where a query costs no less after tuning, so that training never pays.
    """
    saved = icl_flops - tuned_flops
    return -(-training_flops // saved) if saved > 0 else None
