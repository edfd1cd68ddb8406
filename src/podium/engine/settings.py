"""Settings of the models that run on this machine."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from podium.core.layout import DataFolder

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How local models are kept, run and watched."""

    models_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of the model files; many data folders may share one. None: `<data>/models`."},
    )
    fetch_timeout_s: float = field(
        default=1800.0,
        metadata={"help": "Longest time for fetching one model, waiting for another process that fetches it included."},
    )
    download_max_gib: float = field(
        default=200.0, metadata={"help": "Largest file that is fetched from a URL or a hub, GiB."}
    )
    download_hosts: str = field(
        default="*.huggingface.co,*.hf.co",
        metadata={
            "help": "Hosts that a URL or a hub may lead on to, between commas; `*` matches any run of characters."
        },
    )
    hub_token_file: str | None = field(
        default=None,
        metadata={
            "help": "File with the token for the hub. None: `HF_TOKEN`, or where the hub's own tools keep it."
            " The hub's address is `HF_ENDPOINT`."
        },
    )
    threads: int = field(
        default=0, metadata={"help": "CPU threads that one model computes with; 0: one for each core but one."}
    )
    parallel_slots: int = field(
        default=8, metadata={"help": "Chats that a worker computes at the same time; more wait in line."}
    )
    context_tokens: int = field(
        default=16_384, metadata={"help": "Context of a chat worker, all slots together, tokens."}
    )
    prompt_batch_tokens: int = field(
        default=256,
        metadata={"help": "Tokens of a prompt computed in one step; smaller keeps running answers more fluent."},
    )
    prompt_cache_mib: int = field(
        default=256, metadata={"help": "Memory for computed prompts that no slot holds any more, MiB; 0: none."}
    )
    embedding_batch_texts: int = field(
        default=32, metadata={"help": "Texts that the embedding model computes in one step."}
    )
    embedding_queue_texts: int = field(
        default=2048,
        metadata={"help": "Texts that may wait for the embedding model; a request over that is answered with 503."},
    )
    load_timeout_s: float = field(default=120.0, metadata={"help": "Longest time until a started worker must answer."})
    memory_budget_mib: int = field(
        default=0,
        metadata={
            "help": "Memory that workers of registered models may take together, MiB; the least recently used one makes"
            " room. The built-in models come on top. 0: half of what this machine, or its container, has."
        },
    )
    fair_wait_s: float = field(
        default=10.0,
        metadata={
            "help": "How long callers of a model that is not in memory wait, at most, before one with calls under way"
            " makes room for it."
        },
    )
    min_stay_s: float = field(
        default=10.0,
        metadata={
            "help": "How long a loaded model stays at least before it makes room for another; never less than its load"
            " took."
        },
    )
    load_wait_s: float = field(
        default=30.0,
        metadata={
            "help": "Longest time that a request waits for its model to be loaded; if that takes longer, it is answered"
            " with 503 and `retry-after`."
        },
    )
    hang_timeout_s: float = field(
        default=30.0, metadata={"help": "A worker of a registered model that is silent for so long is killed."}
    )
    drain_timeout_s: float = field(
        default=30.0, metadata={"help": "Longest time that a worker finishes running requests after SIGTERM."}
    )
    restart_backoff_min_s: float = field(
        default=0.25, metadata={"help": "Wait before the first restart of a process; doubles with each."}
    )
    restart_backoff_max_s: float = field(default=15.0, metadata={"help": "Longest wait before a restart."})
    restart_stable_s: float = field(
        default=60.0, metadata={"help": "A process that ran this long starts again with the shortest wait."}
    )
    log_file_bytes: int = field(default=10_000_000, metadata={"help": "Size at which a process's log file is rotated."})
    log_files_kept: int = field(default=3, metadata={"help": "Rotated log files kept for each process."})

    def store_folder(self, data: DataFolder) -> Path:
        """Where the model files are."""
        return Path(self.models_dir) if self.models_dir else data.models

    def memory_budget(self) -> int:
        """MiB for the workers of registered models: the setting, or half of the memory that may be used."""
        return self.memory_budget_mib or _usable_memory_mib() // 2

    def thread_count(self) -> int:
        """CPU threads for one model: the setting, or one for each usable core but one, at least one.

        The gateway needs a core to itself: a step ends when its slowest thread does, so llama.cpp on all cores
        becomes many times slower as soon as anything else runs.
        """
        return self.threads or max(1, _usable_cores() - 1)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _usable_memory_mib() -> int:
    """Of the machine, or of its container (cgroup v2) when that is less."""
    usable = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # not there, or "max"
        usable = min(usable, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return usable >> 20
