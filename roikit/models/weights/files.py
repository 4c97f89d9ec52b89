"""The tensors of a file of weights, of whichever kind it is. No code in a file is ever executed."""

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roikit.models.weights.torch_file import read_torch
from roikit.models.weights.unpickle import Stream, read_pickle, view

__all__ = ["read_state"]

State = dict[str, Tensor]

# Where a state dict may be in what a file holds: roikit's and detectron2's, mmdetection's and Lightning's, Detectron's.
_PLACES = ("model", "state_dict", "blobs")

# torch before 1.6 began its files so: a pickle of protocol 2 of one long number.
_SEQUENCE = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_SAFETENSORS_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
                      "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
                      "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}


def read_state(path: str | os.PathLike) -> State:
    """The state dict in a file: names, as they stand there, to tensors on the CPU.

    Args:
        path: a file of `torch.save` of any age, a pickle of NumPy arrays (detectron2's, Detectron's) or a .safetensors
            file. The dict of tensors is the object itself or stands under "model", "state_dict" or "blobs" in it.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is of another kind, is cut or hostile, or has no state dict. Nothing was executed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with path.open("rb") as file:
        start = file.read(len(_SEQUENCE))
    pickled = start[:1] == b"\x80" and start != _SEQUENCE
    content = read_pickle(path) if pickled else read_torch(path)
    # Under "model" there may be something else, a model's hyper-parameters say.
    places = [content, *map(content.get, _PLACES)] if isinstance(content, dict) else []
    for state in places:
        if _is_state(state):
            return state
    raise ValueError(f"load_checkpoint: {path} must hold a state dict (names to tensors), or a dict with one under "
                     "'model', 'state_dict' or 'blobs'")


def _is_state(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _read_safetensors(path: Path) -> State:
    """Tensors of a safetensors file: a 64-bit length, a JSON table, the raw little-endian data."""
    with path.open("rb") as file:
        try:
            stream = Stream(file, os.fstat(file.fileno()).st_size)
            start = 8 + int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(start - 8))
            table.pop("__metadata__", None)
            room, state = stream.size - start, {}
            for name, entry in table.items():
                begin, end = entry["data_offsets"]
                dtype, shape = _SAFETENSORS_TYPES[entry["dtype"]], entry["shape"]
                if not 0 <= begin <= end <= stream.size - start or any(type(n) is not int or n < 0 for n in shape) or (
                        end - begin != math.prod(shape) * dtype.itemsize):
                    raise ValueError(f"{name} does not fit its place")
                room -= end - begin
                if room < 0:
                    raise ValueError("the tensors are more than the file holds")
                file.seek(start + begin)
                state[name] = view(stream.read(end - begin), dtype).reshape(shape)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"load_checkpoint: {path} must be a safetensors file of floats and "
                             f"integers, but it cannot be read ({error})") from error
    return state
