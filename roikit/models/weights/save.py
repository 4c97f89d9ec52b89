"""Weights from models into files: roikit's layout, torchvision's, detectron2's, YOLACT's."""

import glob
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from roikit.errors import naming
from roikit.models.parts.inference_layer import refuse_prepared
from roikit.models.weights.detectron2 import to_detectron2
from roikit.models.weights.layouts import obstacle
from roikit.models.weights.yolact import to_yolact

__all__ = ["LAYOUTS", "save_checkpoint", "write_atomically"]

LAYOUTS = ("roikit", "torchvision", "detectron2", "yolact")


def save_checkpoint(model: nn.Module, path: str | os.PathLike, layout: str = "roikit") -> None:
    """Write a detector's weights so that roikit, torchvision, detectron2 or YOLACT's authors load them, strictly.

    Args:
        model: a detector of `build_detector`; for "roikit" any module.
        path: the file, which appears whole or not at all. With the suffix ".pkl" and layout "detectron2" it is a pickle
            of NumPy arrays, as detectron2 publishes its own; otherwise a file of `torch.save`.
        layout: "roikit" writes `{"model": state dict}`; "torchvision" the plain state dict; "detectron2" `{"model":
            state dict, "__author__": "roikit"}` with detectron2's names, background and channels; "yolact" the plain
            state dict with the names of YOLACT's authors.

    What the other library then computes is the same, its configuration being the same: it has to be told the numbers of
    `model.config`, and detectron2 means and deviations of pixels as BGR of 0 to 255. The background's deltas and mask,
    which nothing looks at, are not in detectron2's layout and are zeros where it is read again.

    Raises:
        ValueError: another layout; the model is one of `prepare_for_inference`, whose weights are in no state dict; or
            the library computes something else than the model; it names the field of the configuration that stands
            in the way.
        OSError: the file cannot be written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"save_checkpoint: layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    refuse_prepared("save_checkpoint", model)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    content: Any = {"model": state}
    if layout != "roikit":
        config = getattr(model, "config", None)
        if config is None:
            raise ValueError(f"save_checkpoint: layout {layout!r} needs a model of build_detector, whose config says "
                             f"what {layout} has to compute, got {type(model).__name__} without a config")
        if reason := obstacle(config, "YOLACT" if layout == "yolact" else layout):
            raise ValueError(f"save_checkpoint: {layout} would compute something else than this model: {reason}")
        content = _in_layout(state, layout)
    if layout == "detectron2" and Path(path).suffix == ".pkl":
        arrays = {name: value.contiguous().numpy() for name, value in content["model"].items()}
        write_atomically(path, lambda file: pickle.dump(content | {"model": arrays}, file, protocol=4))
    else:
        write_atomically(path, lambda file: torch.save(_compact(content), file))


def _in_layout(state: dict[str, Tensor], layout: str) -> Any:
    if layout == "detectron2":
        return {"model": to_detectron2(state), "__author__": "roikit"}
    return to_yolact(state) if layout == "yolact" else state


def _compact(content: Any) -> Any:
    """With each tensor in a storage of its own: of a slice torch.save would write the whole."""
    if isinstance(content, dict):
        return {name: _compact(value) for name, value in content.items()}
    return content.clone(memory_format=torch.contiguous_format) if isinstance(content, Tensor) else content


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Make `path` by `write(file)` so that a crash leaves the old file or the new one.

    The bytes go to a neighbour, reach the disk (fsync), and the neighbour is renamed. Neighbours that killed processes
    left are taken away.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _is_alive(left.suffixes[-2][1:]):
            left.unlink(missing_ok=True)
    try:
        with naming(path), open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself must reach the disk, too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_alive(process: str) -> bool:
    """Whether the process of this number may still be at work; only POSIX can tell."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's
    return True
