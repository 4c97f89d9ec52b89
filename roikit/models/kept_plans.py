"""Plans kept in the user's folder: what was measured once is not measured again, and the bits are those of before."""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roikit._home import home_folder
from roikit.models.configs import ImageConfig
from roikit.models.inference import prepare_for_inference
from roikit.models.parts.detector import Detector
from roikit.models.plan import InferencePlan
from roikit.models.segmentation.segmenter import Segmenter

__all__ = ["prepare_with_kept_plan"]

_OBJECTS = 16  # an image whose masks are measured


def prepare_with_kept_plan(model: Detector | Segmenter) -> Detector | Segmenter:
    """`prepare_for_inference` in float32 with a plan for images of the size that the configuration resizes to.

    The plan is kept in the folder ``plans`` of `ROIKIT_HOME`, by layers, sizes, version of torch, threads and what the
    processor can do. If it is there, nothing is measured. Otherwise it is measured on an image of noise, which takes
    some ten times as long as one call; of processes that do so at once all follow the first. Where the folder cannot be
    written, each process has a plan of its own, and so perhaps other last digits.

    Raises:
        TypeError: as `prepare_for_inference`.
    """
    prepared = prepare_for_inference(model)
    path = home_folder() / "plans" / f"{_key(prepared)}.json"
    if not _follow(path, prepared):
        _measure(prepared)
        _keep(InferencePlan.of(prepared), path)
        if not _follow(path, prepared):
            InferencePlan.of(prepared).put_into(prepared)
    return prepared


def _key(prepared: nn.Module) -> str:
    """A name for all that the ways depend on."""
    about = (InferencePlan.of(prepared).layers, asdict(prepared.config.image), torch.__version__,
             torch.get_num_threads(), os.cpu_count(), torch.backends.cpu.get_cpu_capability(),
             os.environ.get("ONEDNN_MAX_CPU_ISA", ""))
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=12).hexdigest()


def _follow(path: Path, prepared: nn.Module) -> bool:
    """Have the model follow a plan that is kept; False where there is none. A damaged one is taken away."""
    try:
        InferencePlan.load(path).put_into(prepared)
    except ValueError:
        with contextlib.suppress(OSError):
            path.unlink()
        return False
    except OSError:
        return False
    return True


def _measure(prepared: Detector | Segmenter) -> None:
    changed: dict[str, Any] = {}
    if (box := getattr(prepared, "box", None)) is not None:  # noise shows no objects, whose masks are to be measured
        changed["box"] = replace(box, score_threshold=0.0, detections_per_image=_OBJECTS)
    if getattr(prepared, "mask_format", None) is not None:
        changed["mask_format"] = "rle"  # nobody looks at them, so that they need not be pixels
    before = {name: getattr(prepared, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(prepared, name, value)
        with torch.no_grad():
            prepared([_noise(prepared.config.image)])
    finally:
        for name, value in before.items():
            setattr(prepared, name, value)


def _noise(image: ImageConfig) -> torch.Tensor:
    """An image of the size that others get, whose sides are as 3 to 4 where they are their own."""
    short = image.min_size[-1]
    long = short if not image.keep_aspect else min(image.max_size, short * 4 // 3)
    return torch.rand(len(image.mean), short, long, generator=torch.Generator().manual_seed(0))


def _keep(plan: InferencePlan, path: Path) -> None:
    """Write the plan where there is none, whole from the first moment on; a folder that cannot be written is none."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent)
        os.close(number)
        try:
            plan.save(name)
            try:
                os.link(name, path)  # fails where another process was the first
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                os.replace(name, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)
