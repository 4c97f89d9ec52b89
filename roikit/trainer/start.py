"""Before the first step: the folder, the data, the model; whatever is wrong with them is found here."""

import itertools
import os
from pathlib import Path

import numpy as np
import torch

from roikit import models
from roikit.data.remote import local_path
from roikit.models.parts.bf16 import has_bf16
from roikit.models.parts.winograd import with_winograd
from roikit.trainer import checkpoint
from roikit.trainer.failures import on_first, sentence
from roikit.trainer.fields import ConfigError, differences, plain
from roikit.trainer.folders import alone_in
from roikit.trainer.optim import WeightAverage, build_optimizer
from roikit.trainer.state import TrainState
from roikit.trainer.tasks import task_of
from roikit.trainer.trained import weights_file

__all__ = ["fitted", "inspect", "look_at_amp", "look_for_images", "new_state", "resumed", "run_folder", "saved_state",
           "seed"]


# What the doctor finds of single images that ``data.on_error`` "skip" passes over.
_UNREADABLE = ("broken-image", "pixel-range", "too-large-image", "size-mismatch")


def saved_state(out, resume):
    """What ``last.pt`` of the folder holds; None without ``resume``, or where there is none yet.

    Raises:
        ValueError: ``resume`` without a folder, or a file that cannot be read.
    """
    if not resume:
        return None
    if out is None:
        raise ValueError("train: resume needs out, the folder of the run")
    last = Path(out) / "last.pt"
    try:
        return checkpoint.load(last) if last.is_file() else None
    except ValueError as error:
        others = [name for name in ("best.pt", "model.safetensors") if (Path(out) / name).is_file()]
        hint = f"; run.init={Path(out) / others[0]} starts a new run from the weights that are left" if others else ""
        raise ValueError(f"train: cannot resume: {error}{hint}") from error


def run_folder(out, name, saved, process, held):
    """The run's folder, made; the same on every process. ``held`` keeps other runs out of it until it is closed.

    Raises:
        OSError: it cannot be made, or another run is at work in it.
        ValueError: it holds a run already.
    """
    return on_first(process, _made_folder, out, name, saved, held)


def _made_folder(out, name, saved, held):
    out = _new_folder(name) if out is None else Path(out)
    out.mkdir(parents=True, exist_ok=True)
    held.enter_context(alone_in(out, "train"))
    if saved is None and (out / "last.pt").exists():
        raise ValueError(f"train: {out} holds a run already; resume it, or choose another folder")
    return out


def _new_folder(name):
    """A folder ``runs/NAME``, numbered if it exists, which this process made."""
    for number in itertools.count(1):
        out = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            out.mkdir(parents=True)
            return out
        except FileExistsError:  # of an earlier run, or of one that starts at this moment
            if not os.path.lexists(out):  # what is there is above it
                raise


def look_at_amp(config, device):
    """Look whether the device has what ``run.amp`` asks for.

    Raises:
        ConfigError: it is bf16, and the processor would take many times as long for that as for float32.
    """
    if config.run.amp == "bf16" and not has_bf16(device):
        raise ConfigError("config: run.amp=bf16 needs oneDNN's bfloat16, which x86 has with AVX-512 and which "
                          "ONEDNN_MAX_CPU_ISA may turn off; there is none here, where run.amp=auto trains in float32")


def inspect(config):
    """Print the doctor's report on each part.

    Raises:
        ValueError: a finding that cannot be trained on.
    """
    passed = _UNREADABLE if config.data.on_error == "skip" else ()
    for name, report in task_of(config.model).reports(config):
        print(f"{name}: {report.text()}", flush=True)
        if any(finding.kind not in passed or name != "train" for finding in report.errors):
            raise ValueError(f"train: the {name} part cannot be used as it is, see the report "
                             "above; run.doctor=false tries nevertheless")


def look_for_images(parts):
    """Look whether each image of some data sets (name -> data set, or None) has its file.

    Raises:
        FileNotFoundError: some have none; the first is named.
    """
    for name, dataset in parts.items():
        if dataset is None:
            continue
        missing = [p for p in map(dataset.image_path, range(len(dataset))) if not os.path.isfile(p)]
        if missing:
            raise FileNotFoundError(f"train: {len(missing)} of {len(dataset)} images of the {name} part have no file, "
                                    f"the first of them {missing[0]}")


def fitted(config, dataset):
    """The configuration with what the data and the metric decide put in.

    Raises:
        ValueError: data without what there is to learn.
    """
    return task_of(config.model).fitted(config, dataset)


def seed(number):
    """Seed torch's and NumPy's global generators."""
    torch.manual_seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002  (for transforms that use the global generator)


def new_state(config, device):
    """The state before the first step, and lines about the weights that it starts from.

    Raises:
        ConfigError: the model cannot be built.
        OSError, ValueError: the weights cannot be read or do not fit.
    """
    try:
        model = task_of(config.model).build(config.model)
    except Exception as error:  # its numbers do not fit each other
        raise ConfigError(f"config: model: it cannot be built: {sentence(error)}") from error
    lines = []
    if config.run.init_backbone is not None:
        body, heads = task_of(config.model).network(model)
        report = models.load_backbone(body, local_path(config.run.init_backbone), heads)
        lines.append(f"{config.run.init_backbone}: {report}")
    if config.run.init is not None:
        path = weights_file(config.run.init)
        report = models.load_checkpoint(model, path, allow_new_classes=True)
        lines.append(f"{path}: {report}")
    model.to(device)
    if config.run.channels_last:
        model.to(memory_format=torch.channels_last)
    if device.type == "cpu" and config.run.winograd == "auto":
        with_winograd(model)
    ema = config.optimizer.ema
    state = TrainState(
        model=model.train(), optimizer=build_optimizer(config.optimizer, model),
        scaler=torch.amp.GradScaler(device.type, enabled=config.run.amp == "fp16"),
        average=None if ema is None else WeightAverage(model, ema))
    return state, lines


def resumed(saved, config, step):
    """Lines about a run that goes on."""
    yield f"resumed at step {step}"
    for line in differences(saved["config"], plain(config)):
        yield f"  now {line}"
