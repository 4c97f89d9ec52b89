"""Checkpoints: everything needed to go on, in files that are whole or absent.

A checkpoint is a dict of tensors and plain values, so ``torch.load(..., weights_only=True)`` reads
it and no code in it is ever run:

    format, version     "roikit-checkpoint", 1
    model               state dict of the weights to use: the averaged ones where there are any
    average             None, or {"updates", "trained"}: how often the average was updated, and the
                        state dict of the weights being trained
    optimizer, scaler   their state dicts (scaler None without fp16)
    step, epoch         steps done; the epoch that the next step belongs to
    sampler             {"start": step, "seed", "steps_per_epoch"}
    rng                 one entry a process: {"torch", "cuda", "numpy", "python"}
    best                {"name", "value", "step"} of the best evaluation so far, or None
    config              the configuration as plain data
    categories          [{"id", "name"}, ...] in the order of the labels 1, 2, ...; where the model has
                        keypoints also COCO's "keypoints" (names) and "skeleton" (pairs of numbers from 1)
"""

import json
import random
from pathlib import Path

import numpy as np
import torch

from roikit.data.keypoints import skeletons_of
from roikit.data.records import shown
from roikit.data.remote import local_path
from roikit.models.weights.save import write_atomically
from roikit.trainer.extras import extra

__all__ = ["FORMAT", "check_categories", "export_safetensors", "load", "read_rng", "restore_rng", "save",
           "write_atomically"]

FORMAT = "roikit-checkpoint"
FIELDS = {"model": dict, "average": dict | None, "optimizer": dict, "scaler": dict | None, "step": int, "epoch": int,
          "sampler": dict, "rng": list, "best": dict | None, "config": dict, "categories": list}


def save(path, state):
    """Write a checkpoint; ``state`` is the dict above without ``format`` and ``version``."""
    write_atomically(path, lambda file: torch.save({"format": FORMAT, "version": 1, **state}, file))


def load(path):
    """Read a checkpoint of the trainer onto the CPU.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: the file is something else.
    """
    path = Path(local_path(path))
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch's own words advise to run what the file holds
        raise ValueError(f"checkpoint: {path} is not a readable checkpoint: it is no whole file of torch.save, or it "
                         "holds code, which is not executed") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"checkpoint: {path} was not written by roikit's trainer; "
                         "roikit.models.load_checkpoint reads plain state dicts")
    if state.get("version") != 1:
        raise ValueError(f"checkpoint: {path} has version {state.get('version')}, "
                         "this roikit reads version 1")
    missing = [name for name in FIELDS if name not in state]
    if missing:
        raise ValueError(f"checkpoint: {path} has no {missing[0]}")
    for name, kind in FIELDS.items():
        if not isinstance(state[name], kind):
            raise ValueError(f"checkpoint: {path}: its {name} must be {getattr(kind, '__name__', kind)}, "
                             f"got {type(state[name]).__name__}")
    check_categories(state["categories"], path)
    return state


def check_categories(categories, path):
    """Refuse what is no list of {"id", "name"}, or names keypoints as no COCO category does.

    Raises:
        ValueError: naming the file ``path``.
    """
    sound = isinstance(categories, list) and categories and all(
        isinstance(c, dict) and isinstance(c.get("id"), int) and isinstance(c.get("name"), str) for c in categories)
    if not sound:
        raise ValueError(f"checkpoint: {path}: its categories must be a list of dicts with id and name, "
                         f"got {shown(categories)}")
    try:
        skeletons_of(categories)
    except ValueError as error:
        raise ValueError(f"checkpoint: {path}: {error}") from None


def read_rng():
    """The states of every random generator of this process, as tensors and plain values."""
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss),
                  float(cached)],
        "python": [version, list(internal), gauss],
    }


def restore_rng(state):
    """Put ``read_rng``'s states back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, cached = state["numpy"]
    keys = keys.numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def export_safetensors(path, weights, config, categories):
    """Write weights as safetensors with the configuration and the categories in its header.

    Args:
        path: the file to make.
        weights: state dict.
        config: the configuration as plain data.
        categories: as a checkpoint has them.
    """
    safetensors = extra("safetensors.torch", "exporting weights")
    header = {"format": "pt", "roikit": json.dumps({"config": config, "categories": categories})}
    data = safetensors.save({k: v.detach().cpu().contiguous() for k, v in weights.items()}, header)
    write_atomically(path, lambda file: file.write(data))
