"""Writes a GGUF file anew with its quantised tensors as 16 bit floats.

    unpacked_gguf.py IN.gguf OUT.gguf        needs gguf and numpy

The engine from PyPI multiplies quantised numbers with AVX-VNNI, and dies on a processor that has none; with floats
it runs everywhere.
"""

import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize

PLAIN = (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
# The writer writes the first by itself; the others are about the file that is read.
NOT_COPIED = {"general.architecture", "general.file_type", "general.quantization_version"}


def copy_fields(reader, writer):
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in NOT_COPIED:
            kind, *of = field.types
            of = of[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, of)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


def main(source, target):
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.get_field("general.architecture").contents())
    copy_fields(reader, writer)
    for tensor in reader.tensors:
        numbers = tensor.data
        if tensor.tensor_type not in PLAIN:
            numbers = dequantize(numbers, tensor.tensor_type).astype(numpy.float16)
        writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:])
