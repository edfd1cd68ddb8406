"""The servers that stand for a model provider."""
