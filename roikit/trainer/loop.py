"""Training: from a configuration to a folder with checkpoints, logs, metrics and pictures."""

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from roikit.trainer import checkpoint, finish, start
from roikit.trainer.automatic import rate_from_batch, workers_of
from roikit.trainer.config import config_text, load_config
from roikit.trainer.distributed import Process, pick_device
from roikit.trainer.failures import Failures, on_first, telling
from roikit.trainer.fields import ConfigError
from roikit.trainer.memory import step_memory
from roikit.trainer.progress import Progress
from roikit.trainer.records import Records
from roikit.trainer.remote_results import writes_to_addresses
from roikit.trainer.run import Run
from roikit.trainer.sampler import EpochBatches, repeat_factors
from roikit.trainer.schedule import run_length
from roikit.trainer.skipping import Unread
from roikit.trainer.tasks import task_of

__all__ = ["train"]


@writes_to_addresses(looks=True)
def train(config, overrides=(), *, out=None, resume=False, on_step=None):
    """Train a detector, or a segmenter, and leave everything about it in a folder.

    What is wrong with the data or the configuration is found before the first step wherever that can be. Checkpoints
    are written before anything is made of them: an evaluation, a picture, a curve or a log that fails is told, the run
    goes on, and in the end IncompleteRun names it.

    Under torchrun each process calls this; ``data.batch_size`` is shared among them and the first
    one writes.

    Args:
        config: ``TrainConfig``, a preset's name, the path of a YAML file, or a mapping; None with
            ``resume`` for the configuration of the run that is resumed.
        overrides: strings ``dotted.key=value`` or a nested mapping.
        out: the folder, or an address that it is copied to as it grows; default ``runs/NAME``, numbered if it exists.
            It gets ``config.yaml``, ``log.jsonl``, ``last.pt``, ``best.pt``, ``model.safetensors``, ``metrics.json``,
            ``detections.json`` (and ``detections_segm.json``, see ``write_detections``) or ``confusion.json``,
            ``curves.png``, ``batch.png``, ``predictions/*.png`` and ``report.html`` with ``analysis.json`` and
            ``report_images``.
        resume: go on from ``last.pt`` of ``out``, or start where there is none yet. On the CPU a
            run that was interrupted and resumed ends in the same bits as one that was not. An
            evaluation that is due and failed is tried again.
        on_step: called with the record of each step (a dict with ``step``, ``loss``, ``lr``, ...).

    Returns:
        dict: what is in ``metrics.json``.

    Raises:
        ConfigError: the configuration does not fit.
        OSError: a file cannot be read or written, or another process is training in ``out``.
        ValueError: the data cannot be trained on, or ``out`` holds another run.
        IncompleteRun: the training is done and saved, but something beside it failed.
        NonFiniteLoss: a loss became NaN or infinite.
        KeyboardInterrupt: SIGINT or SIGTERM came; ``last.pt`` was written first.
    """
    out = out if out is None else Path(os.path.expanduser(out))
    saved = start.saved_state(out, resume)
    if config is None:
        if saved is None:
            raise ValueError(f"train: resume without a configuration needs {out}/last.pt")
        config = saved["config"]
    config = load_config(config, overrides)
    process = Process.start(config.run.device)
    try:
        with ExitStack() as held:
            return _train(config, process, out, saved, resume, on_step, held)
    finally:
        process.end()


def _train(config, process, out, saved, resume, on_step, held):
    run, lines = _prepared(config, process, out, saved, resume, held)
    for line in lines:
        run.progress.say(line)
    begun = time.perf_counter()
    try:
        with _stop_signals() as stopped:
            metrics = run.go_on(stopped, on_step)
        done = {"steps": run.state.step, "seconds": time.perf_counter() - begun,
                "images": run.state.step * run.config.data.batch_size}
        if run.config.data.on_error == "skip":
            done["unread"] = len(run.unread.known)
        summary = {}
        if process.first:
            summary = finish.write(run.out, run.state, run.config, run.val, metrics, done, run.failures)
            run.progress.say(f"{run.out}: {', '.join(sorted(p.name for p in run.out.iterdir()))}")
    finally:
        run.close()
    summary = process.share_first(summary)
    run.failures.raise_if_any(f"{run.state.step} steps are done and {run.out} holds what came of them", summary)
    return summary


def _prepared(config, process, out, saved, resume, held):
    """The run before its next step, and lines to say about it; what is wrong with the data is found here.

    ``held`` keeps other runs out of its folder until it is closed.
    """
    device = pick_device(config.run.device, process.local_rank)
    start.look_at_amp(config, device)
    out = start.run_folder(out, config.run.name, saved, process, held)
    if config.run.doctor:
        on_first(process, start.inspect, config)
    task = task_of(config.model)
    task.require_paths(config)
    with telling("the training part"):
        dataset = task.train_set(config)
    config = start.fitted(config, dataset)
    config, told = rate_from_batch(config)
    categories = dataset.categories
    val = task.prepare_validation(config, categories, process)
    if not config.run.doctor:  # which looks for them as well
        on_first(process, start.look_for_images, {"training": dataset, "val": val and val.dataset})
    if val is None and config.eval.patience is not None:
        raise ConfigError("config: eval.patience counts evaluations, and there is no val part")
    factors = None
    if config.data.repeat_below is not None:
        factors = repeat_factors(dataset.labels_of_images, len(dataset), config.data.repeat_below)
    batches = EpochBatches(len(dataset), config.data.batch_size, seed=config.run.seed,
                           rank=process.rank, world=process.world, factors=factors)
    total = run_length(config.schedule, batches.steps_per_epoch)

    start.seed(config.run.seed)
    state, lines = start.new_state(config, device)
    start.seed(config.run.seed + process.rank)  # processes must not sample alike
    if saved is not None:
        state.from_checkpoint(saved, process=process, batches=batches, categories=categories)
        lines = list(start.resumed(saved, config, state.step))
    elif resume:
        lines.append(f"{out / 'last.pt'} is not there, so there is nothing to resume: the run starts anew")
    workers, workers_told = workers_of(config, device)
    lines += [line for line in (told, workers_told) if line is not None]
    if config.run.memory and process.first:
        lines.append(step_memory(state.model, config, dataset.sizes, device, process.world).line())
    if factors is not None:
        lines.append(f"data.repeat_below={config.data.repeat_below:g}: an epoch shows {batches.shown} images for "
                     f"{len(dataset)}, the one of the rarest class {factors.max():.3g} times")
    if val is not None:
        lines += val.notes
    progress = Progress(total, state.step, show=process.first)
    records = None
    if process.first:
        checkpoint.write_atomically(out / "config.yaml",
                                    lambda file: file.write(config_text(config).encode()))
        records = Records(out, state.step)
    unread = Unread(len(dataset), process.share_first(records and records.unread) or ())
    return Run(config, process, device, out, dataset, batches, total, categories, val, state, progress, records,
               Failures(process, progress.say), unread, workers), lines


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
