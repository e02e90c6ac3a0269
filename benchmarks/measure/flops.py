"""How much work the model is, counted from its shapes."""

from __future__ import annotations

from peclip_fast.models.methods.pe_clip import PECLIP


def gflop(model: PECLIP, frames: int, clips: int, training: bool) -> float:
    """Billions of floating-point operations of the matrix products for clips of ``frames`` frames.

    A product of (m, k) and (k, n) counts 2mkn; sums, norms and activations are left out. The last
    vision block has one query a frame, as our program has it. Inference encodes the clips alone,
    as the texts' features are kept. A train step encodes the texts too, and its backward pass has
    as many operations again for each operand that a gradient is needed for: one for a product
    with frozen weights, two where both sides are trained or computed, none for the pixels. The
    reference does more than is counted here: 77 text positions each time, and a whole last block.

    Args:
        model: PE-CLIP with all adapters and deep prompts; one on "meta" will do.
        frames: T, of a clip.
        clips: B.
        training: a train step, otherwise inference.
    """
    frozen, computed = (2, 3) if training else (1, 1)  # forward, and backward per operand
    visual, text = model.backbone.visual, model.backbone.transformer

    def attention(queries: int, keys: int, width: int) -> int:
        """Projections of queries, keys and values, the scores, the sums, the last projection."""
        return 2 * (
            frozen * 2 * (queries + keys) * width * width + computed * 2 * queries * keys * width
        )

    def feed_forward(tokens: int, width: int, wide: int) -> int:
        return frozen * 2 * 2 * tokens * width * wide

    def adapter(tokens: int, width: int) -> int:
        return computed * 2 * 2 * tokens * width * (width // model.config.reduction)

    def temporal(tokens: int, width: int) -> int:
        """Down, up and scale, and the six products of the GRU."""
        hidden = width // model.config.reduction
        return adapter(tokens, width) + computed * 2 * tokens * (width + 6 * hidden * hidden)

    images = frames * clips
    width, size, _, patch = visual.conv1.weight.shape
    patches = (model.image_size // patch) ** 2
    context = model.config.context_tokens
    total = images * 2 * patches * width * size * patch * patch  # the patches' embedding
    blocks, tokens = visual.transformer.resblocks, 1 + patches + context
    for block in blocks:
        queries = 1 if block is blocks[-1] else tokens
        once = attention(queries, tokens, width) + adapter(queries, width)
        once += feed_forward(queries, width, block.mlp.c_fc.out_features)
        total += images * (once + temporal(queries, width))
    embed = visual.proj.shape[1]
    total += images * frozen * 2 * width * embed
    classes = len(model.classes)
    total += computed * 2 * clips * classes * embed
    text_width = model.backbone.token_embedding.embedding_dim
    total += computed * model.config.prompt_depth * 2 * context * text_width * width
    if training:
        length = model.class_tokens.shape[1] + context
        for block in text.resblocks:
            once = attention(length, length, text_width) + 2 * adapter(length, text_width)
            once += feed_forward(length, text_width, block.mlp.c_fc.out_features)
            total += classes * once
        total += classes * frozen * 2 * text_width * embed
    return total / 1e9
