"""Pickles read as data: nothing that a file names is imported, looked up or called.

A pickle is a program for a machine with a stack. This machine knows the instructions that plain data need. A name in
the file stays a name; a call of a name makes a tensor or a dict by a function of this package, or a `Foreign`, which
can do nothing. Every other name and every other instruction is an error.

Memory stays within a few times the size of the file: each string and array must be in the file as it is told, what is
made of them is counted, and the number of instructions is limited. Nothing here calls itself, so that depth costs no
more than length.
"""

import math
import os
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

__all__ = ["Foreign", "Machine", "Stream", "read_pickle", "view"]

# Far above what any file of weights needs (a detector's takes 20,000); an instruction of one byte makes at most an
# empty dict of 64.
_MOST_INSTRUCTIONS = 2_000_000

_ARRAY_TYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "i1": torch.int8, "i2": torch.int16,
                "i4": torch.int32, "i8": torch.int64, "u1": torch.uint8, "b1": torch.bool}

_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
           "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")

# Python 2's names, which protocol 2 writes to this day, and NumPy's of before 2.0.
_RENAMED = (("__builtin__.", "builtins."), ("copy_reg.", "copyreg."), ("numpy.core.", "numpy._core."))

_KEYS = (str, int, bool, float, type(None))


class Foreign:
    """A name in a file, or what the file would have made of it. It has that name and nothing else."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class _Blank:
    """An array whose class is told before its values."""

    __slots__ = ("array",)

    def __init__(self):
        self.array: Tensor | None = None


class Stream:
    """A binary file that refuses to read beyond its end, before it makes room for what is not there.

    Args:
        file: the file, at its beginning.
        size: its bytes.
    """

    def __init__(self, file: BinaryIO, size: int):
        self._file, self.size = file, size

    def tell(self) -> int:
        return self._file.tell()

    def read(self, count: int) -> bytearray:
        # A bytearray, because a tensor can be a view of it: the array is not copied.
        data = bytearray(self._within(count))
        self.readinto(data)
        return data

    def readinto(self, data: bytearray) -> None:
        if self._file.readinto(data) != self._within(len(data)):
            raise ValueError("the file ends too early")

    def readline(self) -> bytes:
        return self._file.readline(1000)

    def _within(self, count: int) -> int:
        if count > self.size:
            raise ValueError(f"the file ends too early: it promises {count} bytes and has {self.size} in all")
        return count


def view(data: bytearray, dtype: torch.dtype) -> Tensor:
    """The flat tensor of `dtype` over the memory of `data`."""
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


class Machine:
    """Runs one pickle. Makes None, bool, int, float, str, bytearray, list, tuple, dict, tensors and `Foreign`.

    Args:
        stream: stands where the pickle begins, and after `load` where it ends.
        makers: what a call of a name makes, beside NumPy's arrays (as tensors) and OrderedDict (as a dict).
        inert: names that may occur and are of no use; a call of them makes a `Foreign`.
        persistent: what a persistent id stands for; without it there may be none.
    """

    def __init__(self, stream: Stream, makers: Mapping[str, Callable[..., Any]] | None = None,
                 inert: re.Pattern = re.compile(r"numpy\.ndarray"), persistent: Callable[[Any], Any] | None = None):
        self._stream, self._inert, self._persistent = stream, inert, persistent
        self._makers = {
            "collections.OrderedDict": self._dict, "_codecs.encode": self._encode, "numpy.dtype": self._dtype,
            "builtins.bytes": bytearray().copy,  # protocol 2 writes empty bytes so
            "numpy._core.multiarray._reconstruct": lambda kind, shape, code: _Blank(),
            "numpy._core.multiarray.scalar": lambda dtype, data: self._array(data, dtype, (), False).item(),
            "numpy._core.numeric._frombuffer": lambda data, dtype, shape, order: self._array(
                data, dtype, shape, order == "F"),
            **(makers or {})}
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._made = 0

    def load(self) -> Any:
        """The object that the pickle describes.

        Raises:
            ValueError, and Python's own errors, where the pickle is none or does not do what it may.
        """
        for count, (instruction, value, _) in enumerate(pickletools.genops(self._stream)):
            if count == _MOST_INSTRUCTIONS:
                raise ValueError(f"it has more than {_MOST_INSTRUCTIONS} instructions")
            self._step(instruction.name, value)
        (result,) = self._stack
        return result

    def _call(self, what: Any, args: Any) -> Any:
        if type(what) is not Foreign or type(args) is not tuple:
            raise ValueError("it calls something that is no name")
        maker = self._makers.get(what.name)
        return maker(*args) if maker else Foreign(f"{what.name}()")

    def _step(self, name: str, value: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in _VALUES:
                stack.append(value)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
            case "EMPTY_SET":
                stack.append(Foreign("set"))
            case "MARK":
                self._marked.append(stack)
                self._stack = []
            case "TUPLE":
                items = self._since_mark()
                self._stack.append(tuple(items))
            case "FROZENSET":
                self._since_mark()
                self._stack.append(Foreign("frozenset"))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(self._top(count))]
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self._since_mark())
            case "SETITEM":
                items = self._top(2)
                del stack[-2:]
                self._fill(stack[-1], items)
            case "SETITEMS":
                items = self._since_mark()
                self._fill(self._stack[-1], items)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[value] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                known = self._memo[value]
                stack.append(known.array if type(known) is _Blank else known)
            case "GLOBAL":
                stack.append(self._name(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                stack[-2:] = [self._name(*self._top(2))]
            case "REDUCE" | "NEWOBJ":
                stack[-2:] = [self._call(*self._top(2))]
            case "NEWOBJ_EX":
                what, args, _ = self._top(3)
                stack[-3:] = [self._call(what, args)]
            case "BUILD":
                state = stack.pop()
                self._build(state)
            case "BINPERSID" if self._persistent:
                stack[-1] = self._persistent(stack[-1])
            case _:
                raise ValueError(f"the instruction {name} is not one of plain data")

    def _top(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("it takes what is not there")
        return self._stack[-count:]

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _name(self, module: Any, name: Any) -> Foreign:
        if type(module) is not str or type(name) is not str:
            raise ValueError("a name is no text")
        full = f"{module}.{name}"
        for old, new in _RENAMED:
            if full.startswith(old):
                full = new + full.removeprefix(old)
        if full not in self._makers and not self._inert.fullmatch(full):
            raise ValueError(f"it asks for {full[:100]!r}")
        return Foreign(full)

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Foreign:
            raise ValueError(f"it appends to {type(target).__name__}")

    def _fill(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2 or type(target) not in (dict, Foreign):
            raise ValueError(f"it puts {len(items)} keys and values into {type(target).__name__}")
        if type(target) is dict:
            for key, value in zip(items[::2], items[1::2], strict=True):
                # The hash of a tuple of tuples may take longer than the world lasts.
                if any(type(part) not in _KEYS for part in (key if type(key) is tuple else (key,))):
                    raise ValueError(f"a key of a dict is {type(key).__name__}")
                target[key] = value

    def _build(self, state: Any) -> None:
        target = self._stack[-1]
        if type(target) is _Blank:
            _, shape, dtype, fortran, data = state
            self._stack[-1] = target.array = self._array(data, dtype, shape, bool(fortran))
        elif type(target) is torch.dtype:
            _, order, *fields = state
            if order not in ("<", "|", "=") or any(field is not None for field in fields[:3]):
                raise ValueError("an array is not of little-endian numbers")
        elif type(target) not in (dict, Foreign):  # of these the attributes are of no use
            raise ValueError(f"it sets attributes of {type(target).__name__}")

    def _dict(self, *pairs: Any) -> dict:
        result: dict = {}
        self._fill(result, [part for key, value in (pairs[0] if pairs else ()) for part in (key, value)])
        return result

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytearray:
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise ValueError("it encodes something other than bytes")
        self._charge(len(text))
        return bytearray(text, "latin1")

    def _dtype(self, code: Any, *_: Any) -> torch.dtype:
        if type(code) is not str or code.lstrip("<|=") not in _ARRAY_TYPES:
            raise ValueError(f"an array is of {str(code)[:100]!r}, which is no number that tensors have")
        return _ARRAY_TYPES[code.lstrip("<|=")]

    def _array(self, data: Any, dtype: Any, shape: Any, fortran: bool) -> Tensor:
        if type(data) is str:  # Python 2's bytes
            data = self._encode(data)
        if type(data) is not bytearray or type(dtype) is not torch.dtype or type(shape) is not tuple or not all(
                type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array is not told by bytes, a type and a shape")
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} and {dtype} has {len(data)} bytes")
        self._charge(len(data))
        flat = view(data, dtype)
        return flat.reshape(shape[::-1]).permute(*range(len(shape))[::-1]) if fortran else flat.reshape(shape)

    def _charge(self, count: int) -> None:
        self._made += count
        if self._made > 2 * self._stream.size:
            raise ValueError("it makes far more than it holds")


def read_pickle(path: str | os.PathLike) -> Any:
    """What a pickle of plain data and NumPy arrays holds, such as detectron2's and Detectron's `.pkl`.

    Args:
        path: a pickle of protocol 2 to 5, of Python 2 or 3. It may name NumPy's array reconstruction, OrderedDict and
            the encoding of bytes, and nothing else.

    Returns:
        The object: None, bool, int, float, str, list, tuple and dict; an array (float16/32/64, int8 to 64, uint8,
        bool) is a tensor of its shape, a scalar a Python number, bytes a bytearray.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such pickle: cut, asking for code, or promising more than it holds. Nothing was executed.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return Machine(Stream(file, os.fstat(file.fileno()).st_size)).load()
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a picture, say: whatever Python says of a pickle that is none
            raise ValueError(f"load_checkpoint: {path} must hold tensors and plain data only: it is no whole pickle, "
                             f"or it holds code, which is not executed ({error})") from error
