"""Files of torch.save, of any age, read as data: see `unpickle` for how.

`torch.load(weights_only=True)` refuses a file for any object beside its tensors, as mmengine's log buffers in
mmdetection's checkpoints. Here such an object becomes an inert `Foreign`, and the tensors are read.
"""

import math
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from roikit.models.weights.unpickle import Foreign, Machine, Stream, view

__all__ = ["read_torch"]

_STORAGES = {"torch.DoubleStorage": torch.float64, "torch.FloatStorage": torch.float32,
             "torch.HalfStorage": torch.float16, "torch.BFloat16Storage": torch.bfloat16,
             "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32, "torch.ShortStorage": torch.int16,
             "torch.CharStorage": torch.int8, "torch.ByteStorage": torch.uint8, "torch.BoolStorage": torch.bool}

# What stands beside tensors in the checkpoints of trainers. Any other name is an error, because a file with one was
# made to do harm or is no file of weights.
_INERT = re.compile(
    r"(mmengine|mmcv|mmdet)\..+"
    r"|numpy\.(ndarray|dtypes\.\w+)"
    r"|torch\.(\w+|storage\.\w+|_utils\._rebuild_\w+|nn\.parameter\.\w+|serialization\._get_layout)"
    r"|builtins\.(getattr|set|frozenset|bytearray|complex|slice|int|float|bool|str|list|dict|tuple|object)"
    r"|collections\.(Counter|defaultdict|deque)|argparse\.Namespace|pathlib\.\w+|copyreg\._reconstructor")

# The first object of a file from before torch 1.6, and its second.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Storage(NamedTuple):
    data: Tensor


def read_torch(path: str | os.PathLike) -> Any:
    """What a file of `torch.save` holds.

    Args:
        path: a zip (torch 1.6 and later) or the sequence of pickles of before.

    Returns:
        The object, tensors on the CPU and without gradients, NumPy arrays as tensors; what trainers put beside them
        (`argparse.Namespace`, mmengine's objects, types and devices, sets) as `Foreign`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file: cut, asking for code, compressed, or promising more than it holds. Nothing was
            executed and nothing was written.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            stream = Stream(file, os.fstat(file.fileno()).st_size)
            start = bytes(file.read(2))
            file.seek(0)
            return _read_zip(stream, file) if start == b"PK" else _read_sequence(stream)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a picture, say: whatever Python says of an archive or a pickle that is none
            raise ValueError(f"load_checkpoint: {path} must hold tensors and plain data only: it is no whole file of "
                             f"torch.save, or it holds code, which is not executed ({error})") from error


def _read_zip(stream: Stream, file: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("two entries of the archive have one name")
        for name, entry in entries.items():
            if re.search(r"^/|^[A-Za-z]:/|\\|(^|/)\.\.(/|$)", name):
                raise ValueError(f"the archive names the place {name[:100]!r}, which is outside of it")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("the archive is compressed, which torch.save never does")
            if not 0 <= entry.header_offset < stream.size:
                raise ValueError("the archive points beyond its end")
        if sum(entry.file_size for entry in entries.values()) > stream.size:
            raise ValueError("the archive promises more than it holds")

        def read(name: str) -> bytearray:
            data = bytearray(entries[name].file_size)
            with archive.open(entries[name]) as entry:
                filled = 0
                while count := entry.readinto(memoryview(data)[filled:filled + (1 << 20)]):
                    filled += count
            if filled != len(data):
                raise ValueError(f"{name} ends too early")
            return data

        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in entries):
            raise ValueError("it is an archive of another kind, TorchScript say")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in entries and read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")
        size = entries[pickles[0]].file_size
        with archive.open(entries[pickles[0]]) as content:
            return _load(Stream(content, size), lambda key, count, itemsize: read(f"{folder}data/{key}"))


def _read_sequence(stream: Stream) -> Any:
    if (Machine(stream).load(), Machine(stream).load()) != (_MAGIC, _PROTOCOL):
        raise ValueError("it does not begin as a file of torch.save")
    if Machine(stream).load().get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    storages: dict[str, tuple[int, bytearray]] = {}
    room = stream.size

    def promised(key: str, count: int, itemsize: int) -> bytearray:
        nonlocal room
        room -= count * itemsize
        if room < 0:
            raise ValueError("it promises more than it holds")
        storages[key] = count, bytearray(count * itemsize)
        return storages[key][1]

    content = _load(stream, promised)
    keys = Machine(stream).load()
    if type(keys) is not list or sorted(keys) != sorted(storages):
        raise ValueError("the tensors' values are missing")
    for key in keys:
        count, memory = storages[key]
        if int.from_bytes(stream.read(8), "little") != count:
            raise ValueError("a tensor's values are of another number than was told")
        stream.readinto(memory)
    return content


def _load(stream: Stream, memory_of: Callable[[str, int, int], bytearray]) -> Any:
    """The object of a pickle with storages.

    Args:
        memory_of: key, number of values and bytes of one -> the memory of a storage; it may be filled later.
    """
    memory: dict[str, bytearray] = {}

    def storage(told: Any) -> _Storage | Foreign:
        if type(told) is not tuple or told[:1] != ("storage",):
            raise ValueError("a persistent id is not that of a storage")
        _, kind, key, _, count, *views = told
        if type(kind) is not Foreign or type(key) is not str or type(count) is not int or count < 0 or any(
                part is not None for part in views):
            raise ValueError("a storage is not told by type, key and size")
        dtype = _STORAGES.get(kind.name)
        if dtype is None:  # complex numbers, float8 and others that no detector's weights are made of
            return Foreign(kind.name)
        if key not in memory:
            memory[key] = memory_of(key, count, dtype.itemsize)
        if len(memory[key]) != count * dtype.itemsize:
            raise ValueError(f"storage {key[:100]!r} of {count} {dtype} has {len(memory[key])} bytes")
        return _Storage(view(memory[key], dtype))

    makers = {**_MAKERS, "torch._tensor._rebuild_from_type_v2": _tensor_of_a_class, "torch.Size": lambda sizes: sizes}
    return Machine(stream, makers, _INERT, storage).load()


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor | Foreign:
    if type(storage) is Foreign:
        return storage
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple or len(
            size) != len(stride) or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor is not told by storage, offset, sizes and strides")
    count, room = math.prod(size), storage.data.numel()
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Also a tensor whose elements share places: small here, it may be too large for the memory once it is copied.
    if count and (last >= room or count > room):
        raise ValueError(f"a tensor of shape {size} is larger than its storage of {room}")
    return storage.data.as_strided(size, stride, offset) if count else torch.empty(size, dtype=storage.data.dtype)


_MAKERS = {"torch._utils._rebuild_tensor": _tensor, "torch._utils._rebuild_tensor_v2": _tensor,
           "torch._utils._rebuild_parameter": lambda data, *_: data,
           "torch._utils._rebuild_parameter_with_state": lambda data, *_: data}


def _tensor_of_a_class(make: Any, _class: Any, args: Any, _state: Any) -> Any:
    """The tensor without its class and attributes."""
    if type(make) is not Foreign or type(args) is not tuple:
        raise ValueError("a tensor is made by something that is no name")
    return _MAKERS[make.name](*args) if make.name in _MAKERS else make
