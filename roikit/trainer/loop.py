"""Training: from a configuration to a folder with checkpoints, logs, metrics and pictures."""

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from roikit import data, models
from roikit.trainer import checkpoint, finish
from roikit.trainer.config import config_text, load_config
from roikit.trainer.distributed import Process, pick_device
from roikit.trainer.evaluation import detect
from roikit.trainer.fields import differences, plain
from roikit.trainer.optim import WeightAverage, build_optimizer
from roikit.trainer.progress import Progress
from roikit.trainer.records import Records
from roikit.trainer.running import to_device
from roikit.trainer.sampler import EpochBatches
from roikit.trainer.schedule import learning_rate_factor, run_length
from roikit.trainer.scores import coco_scores, table
from roikit.trainer.state import TrainState
from roikit.trainer.step import optimise
from roikit.trainer.trained import train_paths, train_set, val_paths, val_set, with_detections

__all__ = ["train"]


def train(config, overrides=(), *, out=None, resume=False, on_step=None):
    """Train a detector and leave everything about it in a folder.

    Under torchrun each process calls this; ``data.batch_size`` is shared among them and the first
    one writes.

    Args:
        config: ``TrainConfig``, a preset's name, the path of a YAML file, or a mapping; None with
            ``resume`` for the configuration of the run that is resumed.
        overrides: strings ``dotted.key=value`` or a nested mapping.
        out: the folder; default ``runs/NAME``, numbered if it exists. It gets ``config.yaml``,
            ``log.jsonl``, ``last.pt``, ``best.pt``, ``model.safetensors``, ``metrics.json``,
            ``detections.json``, ``curves.png`` and ``predictions/*.png``.
        resume: go on from ``last.pt`` of ``out``, or start where there is none yet. On the CPU a
            run that was interrupted and resumed ends in the same bits as one that was not.
        on_step: called with the record of each step (a dict with ``step``, ``loss``, ``lr``, ...).

    Returns:
        dict: what is in ``metrics.json``.

    Raises:
        ConfigError: the configuration does not fit.
        ValueError: the data cannot be trained on, or ``out`` holds another run.
        NonFiniteLoss: a loss became NaN or infinite.
        KeyboardInterrupt: SIGINT or SIGTERM came; ``last.pt`` was written first.
    """
    saved = _saved(out, resume)
    if config is None:
        if saved is None:
            raise ValueError(f"train: resume without a configuration needs {out}/last.pt")
        config = saved["config"]
    config = load_config(config, overrides)
    process = Process.start(config.run.device)
    try:
        return _train(config, process, out, saved, on_step)
    finally:
        process.end()


def _saved(out, resume):
    if not resume:
        return None
    if out is None:
        raise ValueError("train: resume needs out, the folder of the run")
    last = Path(out) / "last.pt"
    return checkpoint.load(last) if last.is_file() else None


def _train(config, process, out, saved, on_step):
    device = pick_device(config.run.device, process.local_rank)
    out = _folder(out, config.run.name, saved, process)
    if config.run.doctor and process.first:
        _inspect(config)
    dataset, val = train_set(config), None
    if val_paths(config) is not None:
        val = val_set(config)
    config = _fitted(config, dataset)
    categories = [{"id": i, "name": n} for i, n in
                  zip(dataset.category_ids, dataset.category_names, strict=True)]
    batches = EpochBatches(len(dataset), config.data.batch_size, seed=config.run.seed,
                           rank=process.rank, world=process.world)
    total = run_length(config.schedule, batches.steps_per_epoch)

    _seed(config.run.seed)
    state, started = _new_state(config, device)
    _seed(config.run.seed + process.rank)  # processes must not sample alike
    if saved is not None:
        state.from_checkpoint(saved, process=process, batches=batches, categories=categories)
    progress = Progress(total, state.step, show=process.first)
    for line in started if saved is None else _resumed(saved, config, state.step):
        progress.say(line)
    records = None
    if process.first:
        checkpoint.write_atomically(out / "config.yaml",
                                    lambda file: file.write(config_text(config).encode()))
        records = Records(out, state.step)

    def save(*names):
        content = state.to_checkpoint(process=process, batches=batches, config=plain(config),
                                      categories=categories)
        if process.first:
            for name in names:
                checkpoint.save(out / f"{name}.pt", content)

    def judge():
        return _evaluate(state, val, config, categories, device, process)

    begun, metrics = time.perf_counter(), None
    try:
        with _stop_signals() as stopped:
            wrapped = _wrap(state.model, device, process)
            fetch = _batches(dataset, batches, config, state.step, total)
            while state.step < total:
                record, stop = _one_step(wrapped, state, fetch, config, total, device=device,
                                         process=process, stop=bool(stopped),
                                         epoch=state.step // batches.steps_per_epoch)
                if process.first:
                    records.add(record)
                progress.step(record)
                if on_step is not None:
                    on_step(record)
                every, due = config.eval.every, config.run.checkpoint_every
                last = state.step == total
                metrics = None
                if val is not None and (last or every and state.step % every == 0):
                    metrics, results = judge()
                    names = ["last", "best"] if _note_best(state, metrics, config) else ["last"]
                    save(*names)
                    if process.first:
                        records.add(_eval_record(state.step, metrics))
                        progress.say(f"step {state.step}\n{table(metrics['scores'])}")
                elif last or stop or due and state.step % due == 0:
                    save("last")
                if stop and not last:
                    raise KeyboardInterrupt(
                        f"train: stopped at step {state.step} of {total}; {out / 'last.pt'} was "
                        "written, resume goes on from there")
        if val is not None and metrics is None:  # resumed at the end
            metrics, results = judge()
        done = {"steps": total, "seconds": time.perf_counter() - begun,
                "images": total * config.data.batch_size}
        summary = {}
        if process.first:
            summary = finish.write(out, state, config, categories, val,
                                   metrics and {**metrics, "results": results}, done)
            progress.say(f"{out}: {', '.join(sorted(p.name for p in out.iterdir()))}")
        process.wait()
        return process.share_first(summary)
    finally:
        progress.close()
        if records is not None:
            records.close()


def _folder(out, name, saved, process):
    """The run's folder, made; the same on every process."""
    if process.first:
        if out is None:
            out, number = Path("runs") / name, 1
            while out.exists():
                number += 1
                out = Path("runs") / f"{name}-{number}"
        elif saved is None and (Path(out) / "last.pt").exists():
            out = ValueError(f"train: {out} holds a run already; resume it, or choose another "
                             "folder")
        if not isinstance(out, ValueError):
            out = Path(out)
            out.mkdir(parents=True, exist_ok=True)
    out = process.share_first(out)
    if isinstance(out, ValueError):
        raise out
    return out


def _inspect(config):
    """The doctor's report on each part.

    Raises:
        ValueError: a finding that cannot be trained on.
    """
    for name, paths in (("train", train_paths(config)), ("val", val_paths(config))):
        if paths is None:
            continue
        report = data.inspect_dataset(*paths)
        print(f"{name}: {report.text()}", flush=True)
        if report.fatal:
            raise ValueError(f"train: the {name} part cannot be used as it is, see the report "
                             "above; run.doctor=false tries nevertheless")


def _fitted(config, dataset):
    """The configuration with what the data and the metric decide put in.

    Raises:
        ValueError: a model with masks, and data without.
    """
    if config.model.mask is not None and not dataset.has_masks:
        raise ValueError("train: the training data have no masks; model.mask=null trains boxes "
                         "alone")
    config = replace(config, model=replace(config.model, num_classes=dataset.num_classes))
    return with_detections(config, config.eval.max_detections[-1])


def _seed(seed):
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (for transforms that use the global generator)


def _new_state(config, device):
    """The state before the first step, and lines about the weights that it starts from."""
    model = models.build_detector(config.model)
    lines = []
    if config.run.init_backbone is not None:
        report = models.load_backbone(model.backbone.body, config.run.init_backbone)
        lines.append(f"{config.run.init_backbone}: {report}")
    if config.run.init is not None:
        report = models.load_checkpoint(model, config.run.init, allow_new_classes=True)
        lines.append(f"{config.run.init}: {report}")
    model.to(device)
    if config.run.channels_last:
        model.to(memory_format=torch.channels_last)
    ema = config.optimizer.ema
    state = TrainState(
        model=model.train(), optimizer=build_optimizer(config.optimizer, model),
        scaler=torch.amp.GradScaler(device.type, enabled=config.run.amp == "fp16"),
        average=None if ema is None else WeightAverage(model, ema))
    return state, lines


def _resumed(saved, config, step):
    yield f"resumed at step {step}"
    for line in differences(saved["config"], plain(config)):
        yield f"  now {line}"


def _wrap(model, device, process):
    if process.world == 1:
        return model
    # A step without a positive box in one process leaves its mask branch without a gradient.
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None,
                                   find_unused_parameters=True)


def _batches(dataset, batches, config, step, total):
    """Yields (images, targets) from ``step`` to the end of the run."""
    workers = config.data.workers
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers,
                        collate_fn=data.collate, persistent_workers=workers > 0,
                        generator=torch.Generator())  # the global one must not feel the loader
    while step < total:
        # Between epochs, because workers share the epoch and must not run ahead of it.
        dataset.set_epoch(batches.seek(step))
        for batch in loader:
            yield batch
            step += 1


def _one_step(wrapped, state, fetch, config, total, *, device, process, stop, epoch):
    begun = time.perf_counter()
    images, targets = to_device(*next(fetch), device)
    waited = time.perf_counter() - begun
    rate = config.optimizer.lr * learning_rate_factor(config.schedule, state.step, total)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    losses, norm, stop = optimise(wrapped, state, images, targets, config, device=device,
                                  process=process, stop=stop)
    state.step += 1
    record = {"kind": "train", "step": state.step, "epoch": epoch, "lr": rate, **losses,
              "seconds": time.perf_counter() - begun, "data_seconds": waited,
              "images": config.data.batch_size}
    if norm is not None:
        record["gradient_norm"] = norm
    if device.type == "cuda":
        record["memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return record, stop


def _evaluate(state, val, config, categories, device, process):
    """{"scores": kind -> figures, "speed"} (on the first process) and the COCO results."""
    process.share_buffers(state.judged)
    results, speed = detect(state.judged, val, categories, device=device, amp=config.run.amp,
                            batch_size=config.eval.batch_size, process=process)
    scores = {}
    if process.first:
        annotations = val_paths(config)[0]
        kinds = ("bbox", "segm") if config.model.mask is not None else ("bbox",)
        scores = {kind: coco_scores(annotations, results, kind, image_ids=val.image_ids,
                                    max_detections=config.eval.max_detections) for kind in kinds}
    return {"scores": process.share_first(scores), "speed": speed}, results


def _note_best(state, metrics, config):
    """Whether this is the best evaluation so far, which ``state.best`` then notes."""
    kind, _, figure = config.eval.best.partition("/")
    if kind == "segm" and "segm" not in metrics["scores"]:
        kind = "bbox"
    try:
        value = metrics["scores"][kind][figure]
    except KeyError:
        raise ValueError(f"config: eval.best must be kind/figure such as segm/AP, got "
                         f"{config.eval.best!r}") from None
    if state.best is not None and value <= state.best["value"]:
        return False
    state.best = {"name": f"{kind}/{figure}", "value": value, "step": state.step}
    return True


def _eval_record(step, metrics):
    flat = {f"{kind}/{name}": value for kind, figures in metrics["scores"].items()
            for name, value in figures.items() if name != "per_class"}
    return {"kind": "eval", "step": step, **flat}


@contextmanager
def _stop_signals():
    """A list that is no longer empty once SIGINT or SIGTERM came; a second SIGINT acts at once."""
    came = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number, frame):
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
