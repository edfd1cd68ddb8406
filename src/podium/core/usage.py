"""What an exchange consumed."""

import msgspec

__all__ = ["Usage"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one exchange, all attempts together.

    `cached_input_tokens` (read from a provider's cache) and `cache_write_tokens` (put into it) are parts of
    `input_tokens`, `reasoning_tokens` part of `output_tokens`.
    `estimated`: at least one figure was counted by our tokenizer because the upstream did not report it.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens
