"""The rows of `model_table`: who runs the network, and the process in which each does."""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch

import roikit
from roikit import compat
from roikit.bench.memory import resident
from roikit.bench.peers import first_line, import_peers
from roikit.export import to_onnx
from roikit.models import measure_ranges, prepare_for_inference
from roikit.models.parts.bf16 import has_bf16

from .model_inputs import MODELS, build, image_of

__all__ = ["RIVALS", "Rival", "Row", "serve"]

PATIENCE = 1200  # seconds that a row may take for one answer: an export is the longest
END = 10  # seconds that it may take to end


@dataclass(frozen=True)
class Rival:
    """
    Attributes:
        start: case -> what is timed, a function of no argument whose result is a dict of tensors; and what there is to
            say of it.
        kept: whether its process keeps freed memory.
        dtype: the numbers that it multiplies.
    """

    start: Callable
    kept: bool = False
    dtype: torch.dtype = torch.float32


def _torchvision(case):
    name = MODELS[case.model]
    if "/" in name:
        raise ValueError("torchvision has no such model")
    told = []
    if case.torchvision_ops is None:
        compat.torchvision.install()  # does nothing to a torchvision whose own binary loads
    torchvision = import_peers(torchvision_ops=case.torchvision_ops, say=told.append).get("torchvision")
    if torchvision is None:
        raise ImportError(told[0].removeprefix("# "))
    own = case.torchvision_ops or any("torchvision" in path for path in torch.ops.loaded_libraries)
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None,
                                                        **case.settings("box_score_thresh"))
    model.load_state_dict(torch.load(case.weights, weights_only=True))
    return _called(model.eval(), case, "" if own else "on roikit's operators, its own do not load")


def _called(model, case, words=""):
    image = image_of(case)
    return lambda: model([image])[0], words


def _prepared(precision):
    return lambda case: _called(prepare_for_inference(build(case), precision), case)


def _integers(case):
    model = build(case)
    ranges = measure_ranges(model, [image_of(case)])
    return _called(prepare_for_inference(model, "int8", ranges=ranges), case)


def _exported(case):
    """The path of roikit's own export, which the first row that wants it writes."""
    if not case.onnx.exists():
        beside = case.onnx.with_name("writing.onnx")
        to_onnx(build(case), [image_of(case)], beside)
        beside.rename(case.onnx)
    return case.onnx


def _version(version, held_down):
    """A runtime's version; and what of it is not held down where torch is."""
    variables = [name for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY") if os.environ.get(name)]
    return f"version {version}" + (f", {held_down} {' and '.join(variables)}" if variables else "")


def _onnxruntime(case):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    session = onnxruntime.InferenceSession(_exported(case), options, providers=["CPUExecutionProvider"])
    names, given = [output.name for output in session.get_outputs()], {"image": image_of(case).numpy()}
    return (lambda: dict(zip(names, map(torch.from_numpy, session.run(None, given)), strict=True)),
            _version(onnxruntime.__version__, "which does not heed"))


def _openvino(precision):
    def start(case):
        import openvino

        if precision == "bf16" and not has_bf16("cpu"):
            raise ValueError("oneDNN, which its convolutions are of, has no bfloat16 for this processor")
        model = openvino.Core().compile_model(_exported(case), "CPU", {
            "INFERENCE_NUM_THREADS": case.threads, "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY"})
        names, image = [output.get_any_name() for output in model.outputs], image_of(case).numpy()

        def call():
            found = model([image])
            return {name: torch.from_numpy(found[i].copy()) for i, name in enumerate(names)}

        return call, _version(openvino.__version__.split("-")[0], "whose linear layers do not heed")

    return start


def _plain(case):
    return _called(build(case), case)


RIVALS = {
    "torchvision": Rival(_torchvision),
    "torchvision, memory kept": Rival(_torchvision, kept=True),
    "ONNX Runtime": Rival(_onnxruntime),
    "OpenVINO": Rival(_openvino("f32")),
    "OpenVINO bf16": Rival(_openvino("bf16"), dtype=torch.bfloat16),
    "roikit": Rival(_plain),
    "roikit, memory kept": Rival(_plain, kept=True),
    "prepared": Rival(_prepared("float32")),
    "prepared, memory kept": Rival(_prepared("float32"), kept=True),
    "prepared bf16": Rival(_prepared("bf16"), dtype=torch.bfloat16),
    "prepared bf16, memory kept": Rival(_prepared("bf16"), kept=True, dtype=torch.bfloat16),
    "prepared int8": Rival(_integers, dtype=torch.int8),
    "prepared int8, memory kept": Rival(_integers, kept=True, dtype=torch.int8),
}


def serve(there, name, case, result):
    """A row's process: starts the rival, writes its first result to the file, then runs whenever it is asked.

    Sends {"ready": what there is to say}, then for each run its "seconds", page "faults", and the "most" bytes that the
    process held until then (None where the system does not tell); {"failed": why} where it ends early.
    """
    rival = RIVALS[name]
    try:
        if rival.kept and not roikit.keep_freed_memory():
            raise OSError("freed memory can be kept with glibc alone")
        torch.set_num_threads(case.threads)
        torch.set_grad_enabled(False)
        warnings.simplefilter("ignore")  # of an export: the table says how far results differ
        run, words = rival.start(case)
        torch.save(run(), result)
        there.send({"ready": words})
        while there.recv():
            faults, begun = _faults(), time.perf_counter()
            run()
            seconds = time.perf_counter() - begun
            there.send({"seconds": seconds, "faults": None if faults is None else _faults() - faults,
                        "most": (resident() or (None, None))[1]})
    except EOFError:  # the table has ended
        return
    except Exception as reason:  # told in the row; the others go on
        with suppress(BrokenPipeError):
            there.send({"failed": first_line(reason)})


def _faults():
    """Pages that this process has had made for it so far, or None."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class Row:
    """A rival in a process of its own: what it does to its memory, or ends in, is no other's concern.

    Args:
        target: as `serve`: takes the pipe's end, then ``given``.

    Attributes:
        words: what there is to say of it.
        runs: what `serve` tells of each run.
        failed: why there are no more, or None.
    """

    def __init__(self, target, *given, patience=PATIENCE):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=target, args=(there, *given), daemon=True)
        self._patience, self.words, self.runs, self.failed = patience, "", [], None
        self._process.start()
        there.close()
        self._answer()

    def run(self):
        """One more run; nothing where it has failed."""
        if self.failed is None:
            with suppress(OSError):  # of a process that has ended, as the answer tells
                self._here.send(True)
            self.runs += self._answer()

    @property
    def seconds(self):
        return [run["seconds"] for run in self.runs]

    def _answer(self):
        try:
            if self._here.poll(self._patience):
                message = self._here.recv()
            else:
                message = {"failed": f"no answer for {self._patience:g} s"}
        except (EOFError, OSError):
            self._process.join()
            message = {"failed": f"its process ended with {self._process.exitcode}"}
        if "failed" in message:
            self.failed = message["failed"]
            self.end()
        self.words = message.get("ready", self.words)
        return [message] if "seconds" in message else []

    def end(self):
        """Has the process end by itself, or ends it."""
        with suppress(OSError):
            self._here.send(False)
            self._process.join(END)
        self._here.close()
        self._process.kill()
        self._process.join()
