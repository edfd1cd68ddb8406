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
    """A sentence-embedding model as all-MiniLM-L6-v2 is used: mean over its tokens, scaled to length 1."""

    max_tokens = 512  # BERT has no more positions; the two special tokens included

    def __init__(self, weights: Path, threads: int, tokenizer: Path | None = None) -> None:
        """Load the model; a few tenths of a second. ValueError: it gives no vectors of tokens."""
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
        self._tokenizer = _load_tokenizer(tokenizer)
        self._inputs = {one.name for one in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= self._inputs <= {"input_ids", "attention_mask", "token_type_ids"}:
            raise ValueError(f"its inputs are {', '.join(sorted(self._inputs))}, and not those of a text encoder")
        shape = self._session.get_outputs()[0].shape
        if len(shape) != 3 or not isinstance(shape[2], int):  # noqa: PLR2004 - texts, tokens, dimensions
            raise ValueError("its first output is not a vector for each token")
        self.dimensions: int = shape[2]

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
            None, {name: value for name, value in self._feed(ids, mask).items() if name in self._inputs}
        )[0]
        summed = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))  # the mean's divisor falls out below
        vectors: Vectors = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors

    @staticmethod
    def _feed(ids: Any, mask: Any) -> dict[str, Any]:
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def _load_tokenizer(path: Path | None) -> Tokenizer:
    source = files("podium.engine") / "data/minilm/tokenizer.json" if path is None else path
    tokenizer = Tokenizer.from_str(source.read_text("utf-8"))
    tokenizer.no_padding()  # the file pads and cuts to 128 tokens by itself
    tokenizer.no_truncation()
    return tokenizer
