"""Turn a GGUF file of Q4_1 tensors into one of Q8_0 tensors: `python -m podium.engine.requantise SOURCE TARGET`.

A program of its own, so that numpy and 400 MB of working memory live only as long as the step. Prints one
line with the fraction done after each tensor.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["requantise_to_q8_0"]


def requantise_to_q8_0(source: Path, target: Path, progress: "Callable[[float], None]") -> None:
    """Write `target`: the metadata of `source`, its Q4_1 tensors as Q8_0, all others as they are."""
    import gguf  # noqa: PLC0415 - heavy, and only this step needs it

    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture")
    if architecture is None:
        raise ValueError("no architecture in the model file")
    writer = gguf.GGUFWriter(target, architecture.contents())
    _copy_metadata(gguf, reader, writer)
    for done, tensor in enumerate(reader.tensors):
        data, kind = tensor.data, tensor.tensor_type
        if kind == gguf.GGMLQuantizationType.Q4_1:
            kind = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quants.quantize(gguf.quants.dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
        progress((done + 1) / len(reader.tensors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(gguf: Any, reader: Any, writer: Any) -> None:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue  # the writer writes these itself
        if field.name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
            continue
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], element)


def _main() -> None:
    _, source, target = sys.argv
    requantise_to_q8_0(Path(source), Path(target), lambda fraction: print(f"{fraction:.4f}", flush=True))  # noqa: T201 - the protocol to the parent


if __name__ == "__main__":
    _main()
