"""How a rollout's arms are measured, compared and judged: pure functions from events to sums to verdicts."""
