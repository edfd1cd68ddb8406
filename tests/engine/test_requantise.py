import gguf
import numpy as np

from podium.engine.requantise import requantise_to_q8_0


def make_model(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_string("general.name", "tiny")
    values = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    small = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("weight", small, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("norm", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf.quants.dequantize(small, gguf.GGMLQuantizationType.Q4_1), values[0]


def test_weights_keep_their_values_and_metadata_is_copied(tmp_path):
    weight, norm = make_model(tmp_path / "q4.gguf")
    fractions = []
    requantise_to_q8_0(tmp_path / "q4.gguf", tmp_path / "q8.gguf", fractions.append)
    reader = gguf.GGUFReader(tmp_path / "q8.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    again = gguf.quants.dequantize(tensors["weight"].data, gguf.GGMLQuantizationType.Q8_0)
    assert np.abs(again - weight).max() <= np.abs(weight).max() / 127
    assert np.array_equal(tensors["norm"].data, norm)
    assert reader.get_field("tokenizer.ggml.tokens").contents() == ["a", "b"]
    assert reader.get_field("general.file_type").contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    assert fractions == [0.5, 1.0]
