"""Files of weights read as data: what is in them comes out; hostile, cut and foreign ones execute nothing."""

import argparse
import collections
import contextlib
import copyreg
import io
import json
import os
import pickle
import struct
import sys
import tracemalloc
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from roikit.models.weights import unpickle
from roikit.models.weights.files import read_state
from roikit.models.weights.torch_file import read_torch
from roikit.models.weights.unpickle import read_pickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "weight": RNG.normal(size=(4, 3, 2, 2)).astype(np.float32), "half": np.arange(3, dtype=np.float16),
    "counter": np.array(7, dtype=np.int64), "none": np.zeros((0, 4), np.float32), "mask": np.array([True, False]),
    "turned": np.asfortranarray(RNG.normal(size=(3, 5))), "part": RNG.normal(size=(6, 6)).astype(np.float32)[::2, 1:3],
}


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["model", "blobs", None])
def test_contract_arrays_of_a_pickle_are_tensors(tmp_path, protocol, place):
    content = {place: ARRAYS, "__author__": "them", "matching_heuristics": True} if place else ARRAYS
    state = read_state(write(tmp_path / "m.pkl", pickle.dumps(content, protocol)))
    assert list(state) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert state[name].shape == array.shape and state[name].numpy().dtype == array.dtype
        assert np.array_equal(state[name].numpy(), array)


def test_contract_plain_data_of_a_pickle(tmp_path):
    content = {"a": [1, -2, 3.5, None, True, ("x", "é", 1 << 70)], "b": collections.OrderedDict(z=np.float32(0.5)),
               "c": {}, 4: ((), [[]])}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert read_pickle(write(tmp_path / "m.pkl", pickle.dumps(content, protocol))) == content


def test_contract_a_pickle_of_python_2(tmp_path):
    """As cPickle wrote `{"blobs": {"conv1_w": array([1., 2.], float32)}}` there with protocol 2."""
    text = (b"\x80\x02}q\x01U\x05blobsq\x02}q\x03U\x07conv1_wq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\n"
            b"ndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01K\x02\x85cnumpy\ndtype\nq\x08U\x02f4K\x00K\x01\x87Rq\x09(K"
            b"\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbss.")
    assert pickle.loads(text, encoding="latin1")["blobs"]["conv1_w"].tolist() == [1, 2]
    assert read_state(write(tmp_path / "m.pkl", text))["conv1_w"].tolist() == [1, 2]


def test_contract_two_names_of_one_array_are_one(tmp_path):
    array = np.arange(3.0)
    state = read_state(write(tmp_path / "m.pkl", pickle.dumps({"a": array, "b": array})))
    assert torch.equal(state["a"], torch.arange(3.0, dtype=torch.float64))
    assert state["a"].data_ptr() == state["b"].data_ptr()


def marked(tensor):
    """torch writes the attributes of a tensor beside it."""
    tensor.kind = "weights"
    return tensor


def tensors():
    base = torch.arange(24.0).reshape(4, 6)
    return {"plain": base.clone(), "turned": base.t(), "part": base[1:3, ::2], "none": torch.zeros(0, 3),
            "scalar": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16),
            "flags": torch.tensor([True, False]), "parameter": torch.nn.Parameter(torch.ones(2, 2)), "tied": base,
            "of a class": marked(torch.ones(3))}


@pytest.mark.parametrize("zipped", [True, False])
def test_contract_files_of_torch(tmp_path, zipped):
    trainer = {"model": collections.OrderedDict(tensors()), "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
               "args": argparse.Namespace(lr=0.1), "device": torch.device("cpu"), "type": torch.float32,
               "size": torch.Size([1, 2]), "seen": {1, 2}, "best": np.float64(0.5), "where": Path("x"),
               "log": collections.defaultdict(list, a=[1])}
    torch.save(trainer, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    content = read_torch(tmp_path / "m.pth")
    assert content["best"] == 0.5 and content["size"] == (1, 2) and content["optimizer"]["state"][0]["step"] == 1
    state = read_state(tmp_path / "m.pth")
    for name, value in tensors().items():
        assert torch.equal(state[name], value.detach()) and state[name].dtype == value.dtype
        assert not state[name].requires_grad
    assert state["tied"].untyped_storage().data_ptr() == state["part"].untyped_storage().data_ptr()


def test_contract_the_state_dict_of_a_module(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))  # it carries _metadata
    torch.save(module.state_dict(), tmp_path / "m.pth")
    state = read_state(tmp_path / "m.pth")
    assert {k: v.tolist() for k, v in state.items()} == {k: v.tolist() for k, v in module.state_dict().items()}


@pytest.fixture
def foreign_modules(monkeypatch):
    """Modules of mmengine's names whose class would tell if anything were made of it."""
    made = []

    class HistoryBuffer:
        def __init__(self):
            self.history, self.methods = np.arange(3.0), {"mean": HistoryBuffer.mean}
            self.empty = np.array([])

        def __setstate__(self, state):
            made.append(state)

        def mean(self):
            return 0

    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    HistoryBuffer.__module__ = "mmengine.logging.history_buffer"
    HistoryBuffer.__qualname__, HistoryBuffer.mean.__qualname__ = "HistoryBuffer", "HistoryBuffer.mean"
    HistoryBuffer.mean.__module__ = HistoryBuffer.__module__
    sys.modules[HistoryBuffer.__module__].HistoryBuffer = HistoryBuffer
    return HistoryBuffer, made


@pytest.mark.parametrize("zipped", [True, False])
def test_contract_mmdetections_files_have_objects_of_their_own(tmp_path, foreign_modules, zipped):
    HistoryBuffer, made = foreign_modules
    torch.save({"meta": {"epoch": 12, "cfg": "model = dict()"}, "state_dict": {"backbone.conv1.weight": torch.ones(2)},
                "message_hub": {"log_scalars": collections.OrderedDict(loss=HistoryBuffer()), "last": np.float32(1)}},
               tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    assert read_state(tmp_path / "m.pth")["backbone.conv1.weight"].tolist() == [1, 1]
    assert not made
    torch.load(tmp_path / "m.pth", weights_only=False)
    assert made  # the file would have


class Trap:
    """Leaves a folder of the name "executed"."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


class StateTrap(dict):
    """Calls on being built."""

    def __reduce__(self):
        return collections.OrderedDict, (), Trap()


def globals_by_memo():
    """mkdir called through names put on the stack from the memo."""
    return (b"\x80\x04\x8c\x02osq\x00\x8c\x05mkdirq\x01h\x00h\x01\x93q\x020h\x02\x8c\x08executed\x85R.")


def array_told(shape, dtype, data):
    """A pickle of an array of that shape and dtype code, with those bytes."""
    inner = pickle.dumps((1, shape, dtype, False, data), 2)[2:-1].replace(b"q\x00", b"")
    return (b"\x80\x02X\x01\x00\x00\x00acnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
            + inner + b"b\x86.")


def rezipped(change, **how):
    """A file of torch.save after `change` of its entries (a dict of names and bytes)."""
    source, target = io.BytesIO(), io.BytesIO()
    torch.save({"model": {"a": torch.zeros(1000)}}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **how) as new:
        entries = change({name: old.read(name) for name in old.namelist()})
        for name, content in entries.items():
            new.writestr(name, content)
    return target.getvalue()


def torch_file(content, **how):
    target = io.BytesIO()
    torch.save(content, target, **how)
    return target.getvalue()


def nested(depth, content=b""):
    return b"\x80\x02" + b"]" * depth + content + b"a" * (depth - 1) + b"."


class Persistent(pickle.Pickler):
    def persistent_id(self, thing):
        return ("module", "os", "mkdir") if isinstance(thing, Trap) else None


def persistent():
    target = io.BytesIO()
    Persistent(target, 2).dump({"model": {"a": Trap()}})
    return target.getvalue()


BIG = 1 << 40
HOSTILE = {
    "reduce": lambda: pickle.dumps({"model": ARRAYS, "x": Trap()}),
    "reduce in torch's file": lambda: torch_file({"model": {"a": torch.ones(1)}, "args": Trap()}),
    "reduce in torch's old file": lambda: torch_file({"model": {"a": torch.ones(1)}, "args": Trap()},
                                                     _use_new_zipfile_serialization=False),
    "reduce, eval": lambda: b"\x80\x02c__builtin__\neval\nX\x14\x00\x00\x00os.mkdir('executed')\x85R.",
    "reduce of what is no name": lambda: b"\x80\x02}K\x01\x85R.",
    "build": lambda: pickle.dumps({"model": StateTrap()}, 2),
    "build of a list": lambda: b"\x80\x02]}b.",
    "build of a dtype": lambda: (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x01\x87R"
                                 b"(K\x03X\x01\x00\x00\x00>NNNtb."),
    "inst": lambda: b"(S'executed'\nios\nmkdir\n.",
    "obj": lambda: b"\x80\x02(cos\nmkdir\nX\x08\x00\x00\x00executedo.",
    "newobj": lambda: b"\x80\x02csubprocess\nPopen\nX\x04\x00\x00\x00true\x85\x81.",
    "global by memo": globals_by_memo,
    "global of an attribute": lambda: b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.mkdir\x93\x8c\x08executed\x85R.",
    "nested": lambda: nested(50_000),
    "nested tuples": lambda: b"\x80\x02)" + b"\x85" * 50_000 + b".",
    "nested marks": lambda: b"\x80\x02" + b"(" * 50_000 + b".",
    "nested keys": lambda: b"\x80\x02}K\x01\x85" + b"q\x00h\x00\x86" * 200 + b"K\x01s.",
    "pickle in a pickle": lambda: pickle.dumps({"model": {"a": pickle.dumps(Trap())}}),
    "a pickle to load": lambda: b"\x80\x02c_pickle\nloads\nC\x04abcd\x85R.",
    "persistent ids": persistent,
    "persistent id as text": lambda: b"Pexecuted\n.",
    "persistent id in torch's file": lambda: rezipped(
        lambda e: {**e, "archive/data.pkl": b"\x80\x02X\x06\x00\x00\x00moduleX\x01\x00\x00\x00a\x86Q."}),
    "extension codes": lambda: b"\x80\x02\x82\xf0X\x08\x00\x00\x00executed\x85R.",
    "extension codes, long": lambda: b"\x80\x02\x84\xf0\x00\x00\x00X\x08\x00\x00\x00executed\x85R.",
    "a path outside": lambda: rezipped(lambda e: {**e, "archive/../../executed": b"x"}),
    "a path at the root": lambda: rezipped(lambda e: {**e, "/executed": b"x"}),
    "a path of Windows": lambda: rezipped(lambda e: {**e, "archive\\..\\executed": b"x"}),
    "bomb, deflated": lambda: rezipped(lambda e: {**e, "archive/data/9": bytes(10_000_000)},
                                       compression=zipfile.ZIP_DEFLATED),
    "bomb, a storage that is not there": lambda: torch_file(
        {"a": torch.zeros(1000)}, _use_new_zipfile_serialization=False).replace(
        struct.pack("<BH", 0x4D, 1000), struct.pack("<BH", 0x4D, 65000)),
    "bomb, a tensor wider than its storage": lambda: torch_file({"a": torch.zeros(1).expand(1 << 30)}),
    "bomb, an array": lambda: array_told((BIG, BIG), np.dtype("f4"), b"1234"),
    "bomb, an empty one": lambda: array_told((BIG, 4), np.dtype("f4"), b""),
    "bomb, bytes": lambda: b"\x80\x04\x8e" + struct.pack("<Q", BIG) + b"1234.",
    "bomb, bytes written out": lambda: (b"\x80\x02X\xe8\x03\x00\x00" + b"\xc3\xa9" * 500 + b"q\x00c_codecs\nencode\n"
                                        b"q\x01" + b"h\x01h\x00\x85R" * 2000 + b"."),
    "wrong shape": lambda: array_told((3, 3), np.dtype("f4"), b"1234"),
    "negative shape": lambda: array_told((-1, -1), np.dtype("f4"), b"1234"),
    "shape that is none": lambda: array_told(("a",), np.dtype("f4"), b"1234"),
    "wrong dtype": lambda: array_told((1,), np.dtype("f8"), b"1234"),
    "dtype that is none": lambda: array_told((1,), "f4", b"1234"),
    "objects": lambda: pickle.dumps({"model": {"a": np.array([Trap()], dtype=object)}}),
    "objects told": lambda: array_told((1,), np.dtype("O"), b"12345678"),
    "structures": lambda: pickle.dumps({"a": np.zeros(2, [("x", "f4")])}),
    "big-endian": lambda: pickle.dumps({"a": np.zeros(2, ">f4")}),
    "texts": lambda: pickle.dumps({"a": np.array(["x"])}),
    "TorchScript": lambda: rezipped(lambda e: {**e, "archive/constants.pkl": b""}),
    "of two pickles": lambda: rezipped(lambda e: {**e, "other/data.pkl": b"\x80\x02}."}),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(60),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_contract_hostile_files_are_refused_and_nothing_is_executed(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "mkdir"))
    monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.mkdir)
    path = write(tmp_path / "m.pkl", make())
    for read in (read_state, read_pickle, read_torch):
        try:
            content = read(path)
        except ValueError as error:
            assert f"load_checkpoint: {path} must hold" in str(error) and len(str(error)) < 1000
        else:  # nested lists are data, and no state dict
            assert read is not read_state and type(content) in (list, tuple, dict, int)
    with pytest.raises(ValueError, match="must hold"):
        read_state(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pkl"]
    assert not (tmp_path.parent / "executed").exists()


@pytest.mark.parametrize("name", ["reduce", "reduce, eval", "build", "inst", "obj", "global by memo", "extension codes",
                                  "extension codes, long", "objects"])
def test_law_the_hostile_files_are_hostile(tmp_path, monkeypatch, name):
    """Python's own reader does what they say: that nothing was executed above is not for want of trying."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "mkdir"))
    monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.mkdir)
    with contextlib.suppress(Exception):
        pickle.loads(HOSTILE[name]())
    assert (tmp_path / "executed").is_dir()


@pytest.mark.parametrize("make", [
    lambda: pickle.dumps({"model": ARRAYS}, 2), lambda: pickle.dumps({"model": ARRAYS}, 4),
    lambda: torch_file({"model": tensors()}), lambda: torch_file({"model": tensors()},
                                                                 _use_new_zipfile_serialization=False)])
def test_contract_truncated_files_are_refused(tmp_path, make):
    whole = make()
    for size in {*range(0, len(whole), max(1, len(whole) // 150)), len(whole) - 1}:
        with pytest.raises(ValueError, match="load_checkpoint: .* must hold"):
            read_state(write(tmp_path / "m.pkl", whole[:size]))


@pytest.mark.parametrize("make", [
    lambda: pickle.dumps({"model": ARRAYS}, 2), lambda: torch_file({"model": {"a": torch.ones(2, 2)}}),
    lambda: torch_file({"model": {"a": torch.ones(2, 2)}}, _use_new_zipfile_serialization=False)])
def test_law_a_changed_byte_gives_a_state_dict_or_a_sentence(tmp_path, make):
    whole, random = make(), np.random.default_rng(1)
    for _ in range(400):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        try:
            state = read_state(write(tmp_path / "m.pkl", bytes(changed)))
        except ValueError as error:
            assert "load_checkpoint" in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_contract_memory_stays_near_the_size_of_the_file(tmp_path):
    for make in (HOSTILE["bomb, bytes"], HOSTILE["bomb, an array"], HOSTILE["bomb, bytes written out"],
                 HOSTILE["bomb, a tensor wider than its storage"], HOSTILE["bomb, a storage that is not there"]):
        path = write(tmp_path / "m.pkl", make())
        tracemalloc.start()
        with pytest.raises(ValueError):
            read_state(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_contract_the_number_of_instructions_is_limited(tmp_path, monkeypatch):
    content = b"\x80\x02}X\x01\x00\x00\x00a" + b"}" * 1000
    monkeypatch.setattr(unpickle, "_MOST_INSTRUCTIONS", 1000)
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        read_pickle(write(tmp_path / "m.pkl", content))


def safetensors(table, data=b""):
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_contract_safetensors(tmp_path):
    path = tmp_path / "m.safetensors"
    write(path, safetensors({"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
                             "b": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]},
                             "c": {"dtype": "U8", "shape": [0], "data_offsets": [16, 16]}},
                            struct.pack("<ffq", 1, 2, 5)))
    state = read_state(path)
    assert state["a"].tolist() == [[1, 2]] and state["b"].item() == 5 and state["c"].shape == (0,)
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for content in (safetensors({"a": one}, b"1234"), safetensors({"a": one, "b": one}, bytes(8)),
                    safetensors({"a": {**one, "shape": [-1, -2]}}, bytes(8)), struct.pack("<Q", BIG) + b"{}",
                    struct.pack("<Q", 100_000) + b"[" * 100_000, b"", safetensors([])):
        with pytest.raises(ValueError, match="must be a safetensors file"):
            read_state(write(path, content))


def test_contract_missing_files_are_os_errors(tmp_path):
    for name in ("m.pkl", "m.pth", "m.safetensors"):
        with pytest.raises(FileNotFoundError):
            read_state(tmp_path / name)
    with pytest.raises(OSError):
        read_state(tmp_path)
