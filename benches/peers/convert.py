"""A safetensors file as `torch.save` or `gguf` writes the same weights: convert.py bin|q8_0 FROM TO"""

import sys

import numpy
from safetensors.torch import load_file

form, source, target = sys.argv[1:]
tensors = load_file(source)
if form == "bin":
    import torch

    torch.save(tensors, target)
else:
    import gguf
    import torch

    writer = gguf.GGUFWriter(target, "bert")
    for name, tensor in tensors.items():
        numbers = tensor.to(torch.float32).numpy()
        if numbers.ndim > 1 and numbers.shape[-1] % 32 == 0:
            packed = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, numpy.ascontiguousarray(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
