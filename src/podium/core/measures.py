"""What is measured of a version's answers, by name."""

from typing import Literal

__all__ = ["MetricName"]

MetricName = Literal[
    "error_rate",  # answers that failed by our fault or the upstream's
    "ttft_ms",
    "time_per_output_token_ms",
    "duration_ms",
    "cost_nanousd",
    "input_tokens",
    "output_tokens",
    "empty_rate",  # answers without content
    "truncated_rate",  # answers that ended at a length limit
    "refusal_rate",
    "invalid_format_rate",  # of those that were asked for JSON or a schema
    "thumbs_up_rate",
    "feedback_score",
    "task_done_rate",
    "judge_score",
]
