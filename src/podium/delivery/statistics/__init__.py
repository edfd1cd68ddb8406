"""The statistics of rollouts and experiments: pure functions over sums, in plain Python."""
