"""What an engine has done so far, in plain numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineStats:
    """Counts since the engine was opened, and what is true now."""

    running: int
    """Requests that are read or answered."""
    waiting: int
    """Requests that wait for a place, preempted ones included."""
    kv_blocks_total: int
    """Blocks of the cache of keys and values."""
    kv_blocks_used: int
    """Of them, held by requests; blocks that only remember a prefix count as free."""
    prefix_queries_tokens: int
    """Tokens that were looked up in the prefix cache."""
    prefix_hit_tokens: int
    """Of them, tokens that need not be computed again."""
    preemptions: int
    """Times that a request lost its blocks to another one and was read again later."""
    drafts: int
    """Times that tokens were proposed for a sequence."""
    draft_tokens: int
    """Tokens proposed."""
    accepted_tokens: int
    """Of them, tokens that the model itself would have chosen."""
    prompt_tokens: int
    """Tokens of prompts, as requests came in."""
    generation_tokens: int
    """Tokens of answers."""
