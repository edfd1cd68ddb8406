"""A sentence-embedding model in ONNX format, with its tokenizer. Everything here blocks and computes."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

__all__ = ["EmbeddingModel", "Vector", "Vectors"]

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One row for each text."""


class EmbeddingModel:
    """all-MiniLM-L6-v2 as its authors use it: mean over the tokens, then scaled to length 1."""

    max_tokens = 512  # the model has no more positions; its two special tokens included
    dimensions = 384

    def __init__(self, weights: Path, threads: int) -> None:
        """Load the model; a few tenths of a second."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Batches differ in shape, and the arena would keep room for each: 200 MB that nobody uses again.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave idle cores to the gateway
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(weights), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = _load_tokenizer()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the model's special tokens around them; not cut. Safe in many threads."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """The texts' vectors, each of length 1. Texts of like length cost least: all are padded to the longest."""
        ids = np.zeros((len(token_ids), max(map(len, token_ids))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        hidden: Any = self._session.run(
            None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        )[0]
        summed = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))  # the mean's divisor falls out below
        vectors: Vectors = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors


def _load_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_str((files("podium.engine") / "data/minilm/tokenizer.json").read_text("utf-8"))
    tokenizer.no_padding()  # the file pads and cuts to 128 tokens by itself
    tokenizer.no_truncation()
    return tokenizer
