"""Attention over keys and values in blocks, as Triton kernels.

Paged attention: Kwon et al. 2023, section 4. Softmax as it goes: Milakov & Gimelshein 2018. A
sequence's keys shared out among programs: Dao et al. 2023, Flash-Decoding. The query heads of a
group are rows of one tile, so that their keys are read once.

A layer's cache is (blocks, 2, Hkv, block_size, K), keys before values, and int8 has scales (blocks,
2, Hkv, block_size): a `row` below is a place in the first four of these dimensions.

Imports triton: only `paged_attention` imports this module, and only where a kernel is wanted.
`tl.tensor` is a pointer, a number or a tile: annotations may name only what Triton knows.
"""

import triton
import triton.language as tl

# Added and taken away, it rounds to whole numbers, halves to even: as `torch.round` does, for
# |x| < 2^22. Triton's own rounding is not in its interpreter.
_ROUNDING = tl.constexpr(1.5 * 2**23)


@triton.jit  # type: ignore[untyped-decorator]
def store(
    new_keys: tl.tensor,
    new_values: tl.tensor,
    key_head_stride: tl.tensor,
    key_token_stride: tl.tensor,
    value_head_stride: tl.tensor,
    value_token_stride: tl.tensor,
    slots: tl.tensor,
    cache: tl.tensor,
    scales: tl.tensor,
    head_dim: tl.constexpr,
    tile_dims: tl.constexpr,
    block_size: tl.constexpr,
    heads: tl.constexpr,
    scaled: tl.constexpr,
    largest: tl.constexpr,
) -> None:
    """Write the key and the value of one new token and head; see `paged_attention.store`."""
    token, head = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + token).to(tl.int64)
    row = (slot // block_size * 2 * heads + head) * block_size + slot % block_size
    dim = tl.arange(0, tile_dims)
    real = dim < head_dim
    key = new_keys + head * key_head_stride + token.to(tl.int64) * key_token_stride + dim
    value = new_values + head * value_head_stride + token.to(tl.int64) * value_token_stride + dim
    _keep(key, real, cache + row * head_dim + dim, scales + row, scaled, largest)
    row += heads * block_size
    _keep(value, real, cache + row * head_dim + dim, scales + row, scaled, largest)


@triton.jit  # type: ignore[untyped-decorator]
def _keep(
    source: tl.tensor,
    real: tl.tensor,
    place: tl.tensor,
    scale_place: tl.tensor,
    scaled: tl.constexpr,
    largest: tl.constexpr,
) -> None:
    """Copy one head's vector, on the cache's own grid."""
    vector = tl.load(source, mask=real, other=0.0).to(tl.float32)
    if scaled:  # int8: 127 steps on either side; zeros keep a scale that they can be divided by
        scale = tl.maximum(tl.max(tl.abs(vector), 0) / largest, 1e-30)
        tl.store(scale_place, scale)
        vector = (vector / scale + _ROUNDING) - _ROUNDING
    elif largest > 0:  # fp8: what is larger would become NaN
        vector = tl.minimum(tl.maximum(vector, -largest), largest)
    tl.store(place, vector.to(place.dtype.element_ty), mask=real)


# Numbers of a batch: a kernel made anew for each kind of number would cost seconds each time.
@triton.jit(do_not_specialize=["sequences", "splits"])  # type: ignore[untyped-decorator]
def attend(
    queries: tl.tensor,
    query_head_stride: tl.tensor,
    query_token_stride: tl.tensor,
    positions: tl.tensor,
    pieces: tl.tensor,
    tables: tl.tensor,
    sequences: tl.tensor,
    cache: tl.tensor,
    scales: tl.tensor,
    slopes: tl.tensor,
    output: tl.tensor,
    highest_of_split: tl.tensor,
    total_of_split: tl.tensor,
    splits: tl.tensor,
    scale: tl.tensor,
    group: tl.constexpr,
    head_dim: tl.constexpr,
    block_size: tl.constexpr,
    window: tl.constexpr,
    soft_cap: tl.constexpr,
    biased: tl.constexpr,
    scaled: tl.constexpr,
    whole: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_keys: tl.constexpr,
    tile_dims: tl.constexpr,
    widened: tl.constexpr,
) -> None:
    """One share of what some queries of one sequence see, for one head of keys.

    See `paged_attention.attend`. The result is written where a share is `whole`, else a part.
    """
    head, split, heads = tl.program_id(1), tl.program_id(2), tl.num_programs(1)
    piece = pieces + 3 * tl.program_id(0)
    sequence, first_token, end_token = tl.load(piece), tl.load(piece + 1), tl.load(piece + 2)
    row = tl.arange(0, tile_rows)
    token = (first_token + row // group).to(tl.int64)
    query_head = head * group + row % group
    real = token < end_token
    dim = tl.arange(0, tile_dims)
    wanted = real[:, None] & (dim < head_dim)[None, :]
    q = tl.load(
        queries
        + (token * query_token_stride + query_head * query_head_stride)[:, None]
        + dim[None, :],
        mask=wanted,
        other=0.0,
    )
    if widened:
        q = q.to(tl.float32)
    at = tl.load(positions + token, mask=real, other=0)
    slope = tl.zeros((tile_rows,), tl.float32)
    if biased:
        slope = tl.load(slopes + query_head, mask=real, other=0.0)
    begin, end = _share(positions, first_token, end_token, split, splits, window, tile_keys)

    highest = tl.full((tile_rows,), float("-inf"), tl.float32)
    total = tl.zeros((tile_rows,), tl.float32)
    mixed = tl.zeros((tile_rows, tile_dims), tl.float32)
    for start in range(begin, end, tile_keys):
        key = start + tl.arange(0, tile_keys)
        inside = key < end
        block = tl.load(
            tables + key // block_size * sequences + sequence,
            mask=inside,
            other=0,
        )
        place = (block.to(tl.int64) * 2 * heads + head) * block_size + key % block_size
        scores = _scores(q, place, inside, dim, cache, scales, scale, head_dim, soft_cap, scaled)
        if biased:  # by distance: what is the same for all keys, a softmax does not see
            scores += slope[:, None] * (key[None, :] - at[:, None]).to(tl.float32)
        visible = inside[None, :] & (key[None, :] <= at[:, None])
        if window:
            visible = visible & (key[None, :] > at[:, None] - window)
        scores = tl.where(visible, scores, float("-inf"))
        above = tl.maximum(highest, tl.max(scores, 1))
        # A query that sees nothing yet: -inf less -inf would be NaN.
        base = tl.where(above == float("-inf"), 0.0, above)
        weights = tl.exp(scores - base[:, None])
        shrunk = tl.exp(highest - base)
        v = _values(place + heads * block_size, inside, dim, cache, scales, head_dim, scaled)
        total = total * shrunk + tl.sum(weights, 1)
        mixed = mixed * shrunk[:, None] + tl.dot(
            weights.to(q.dtype), v.to(q.dtype), input_precision="ieee"
        )
        highest = above

    part = (token * heads * group + query_head) * splits + split
    if whole:
        mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
    else:
        tl.store(highest_of_split + part, highest, mask=real)
        tl.store(total_of_split + part, total, mask=real)
    mixed = mixed.to(output.dtype.element_ty)
    tl.store(output + part[:, None] * head_dim + dim[None, :], mixed, mask=wanted)


@triton.jit  # type: ignore[untyped-decorator]
def _share(
    positions: tl.tensor,
    first_token: tl.tensor,
    end_token: tl.tensor,
    split: tl.tensor,
    splits: tl.tensor,
    window: tl.constexpr,
    tile_keys: tl.constexpr,
) -> tl.tensor:
    """From which key to before which one this program reads."""
    first = tl.load(positions + first_token)
    begin = tl.maximum(first - window + 1, 0) if window else first * 0
    end = tl.load(positions + end_token - 1) + 1
    share = tl.cdiv(tl.cdiv(end - begin, splits), tile_keys) * tile_keys
    begin += split * share
    return begin, tl.minimum(begin + share, end)


@triton.jit  # type: ignore[untyped-decorator]
def _scores(
    q: tl.tensor,
    place: tl.tensor,
    inside: tl.tensor,
    dim: tl.tensor,
    cache: tl.tensor,
    scales: tl.tensor,
    scale: tl.tensor,
    head_dim: tl.constexpr,
    soft_cap: tl.constexpr,
    scaled: tl.constexpr,
) -> tl.tensor:
    """(tile_rows, tile_keys) scaled products of queries and stored keys, capped."""
    k = tl.load(
        cache + place[None, :] * head_dim + dim[:, None],
        mask=inside[None, :] & (dim < head_dim)[:, None],
        other=0.0,
    )
    # Whole numbers up to 127 and fp8 are exact in half precision, so the scale can wait.
    scores = tl.dot(q, k.to(q.dtype), input_precision="ieee") * scale
    if scaled:
        scores *= tl.load(scales + place, mask=inside, other=0.0)[None, :]
    if soft_cap > 0:  # tanh(x) = 1 - 2 / (exp(2x) + 1)
        scores = soft_cap * (1.0 - 2.0 / (tl.exp(scores * (2.0 / soft_cap)) + 1.0))
    return scores


@triton.jit  # type: ignore[untyped-decorator]
def _values(
    place: tl.tensor,
    inside: tl.tensor,
    dim: tl.tensor,
    cache: tl.tensor,
    scales: tl.tensor,
    head_dim: tl.constexpr,
    scaled: tl.constexpr,
) -> tl.tensor:
    """(tile_keys, tile_dims) stored values."""
    v = tl.load(
        cache + place[:, None] * head_dim + dim[None, :],
        mask=inside[:, None] & (dim < head_dim)[None, :],
        other=0.0,
    )
    if scaled:
        v = v.to(tl.float32) * tl.load(scales + place, mask=inside, other=0.0)[:, None]
    return v


@triton.jit  # type: ignore[untyped-decorator]
def combine(
    parts: tl.tensor,
    highest_of_split: tl.tensor,
    total_of_split: tl.tensor,
    output: tl.tensor,
    head_dim: tl.constexpr,
    splits: tl.constexpr,
    tile_dims: tl.constexpr,
) -> None:
    """Put the splits of one query together; see `paged_attention.attend`."""
    query = tl.program_id(0).to(tl.int64)
    dim = tl.arange(0, tile_dims)
    place = query * splits + tl.arange(0, splits)  # splits are a power of two
    highest = tl.load(highest_of_split + place)
    # A split without keys has -inf, and counts for nothing.
    weights = tl.exp(highest - tl.max(highest, 0))
    total = tl.sum(weights * tl.load(total_of_split + place), 0)
    mixed = tl.load(
        parts + place[:, None] * head_dim + dim[None, :],
        mask=(dim < head_dim)[None, :],
        other=0.0,
    )
    mixed = tl.sum(mixed * weights[:, None], 0) / total
    tl.store(
        output + query * head_dim + dim, mixed.to(output.dtype.element_ty), mask=dim < head_dim
    )
