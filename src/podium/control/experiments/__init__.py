"""Experiments: planned, started, judged while they run, stopped, reported."""
