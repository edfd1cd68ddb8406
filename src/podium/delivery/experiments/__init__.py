"""Experiments: planned before, frozen while they run, reported after. Pure."""
