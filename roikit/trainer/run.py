"""A run from its present step on: the steps, and what is written, evaluated and told between them."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from roikit import data
from roikit.trainer import checkpoint
from roikit.trainer.config import TrainConfig
from roikit.trainer.distributed import Process
from roikit.trainer.failures import Failures, sentence
from roikit.trainer.fields import plain
from roikit.trainer.first_batch import draw_batch
from roikit.trainer.progress import Progress
from roikit.trainer.records import Records
from roikit.trainer.running import to_device
from roikit.trainer.sampler import EpochBatches
from roikit.trainer.schedule import learning_rate_factor
from roikit.trainer.scores import table
from roikit.trainer.skipping import Skipping, Unread
from roikit.trainer.state import TrainState
from roikit.trainer.step import optimise
from roikit.trainer.validation import Validation

__all__ = ["Run"]


@dataclass
class Run:
    """A run and what happens between its steps.

    Every process calls each method, because what it does is done together or by the first process for all.
    """

    config: TrainConfig
    process: Process
    device: torch.device
    out: Path
    dataset: data.CocoDataset
    batches: EpochBatches
    total: int
    categories: list
    val: Validation | None
    state: TrainState
    progress: Progress
    records: Records | None
    failures: Failures
    unread: Unread
    workers: int
    wrapped: torch.nn.Module | None = None

    def go_on(self, stopped, on_step):
        """Take every step that is left; the figures of the final weights, or None without.

        Raises:
            KeyboardInterrupt: once ``stopped`` is not empty; the checkpoint is written then.
        """
        state, metrics = self.state, None
        over = state.step == self.total or self._is_stale()
        if over or self._evaluation_is_missing():
            if not (self.out / "last.pt").exists():  # a run of no steps
                self.save("last")
            metrics = self.evaluate(final=over)
            over = over or self._stops_early()
        self.wrapped = _wrap(state.model, self.device, self.process)
        fetch = _batches(self.dataset, self.batches, self.workers, self.config, state.step, self.total)
        while not over:
            batch, waited = self._fetched(fetch)
            self._draw(*batch)
            record, stop = _one_step(self.wrapped, state, batch, waited, self.config, self.total, device=self.device,
                                     process=self.process, stop=bool(stopped),
                                     epoch=state.step // self.batches.steps_per_epoch)
            if self.config.data.on_error == "skip":
                record["unread"] = len(self.unread.known)
            self.note(record)
            self.progress.step(record)
            if on_step is not None:
                on_step(record)
            every, last = self.config.run.checkpoint_every, state.step == self.total
            is_saved = True
            if last or stop or self._evaluation_is_due() or every and state.step % every == 0:
                is_saved = self.save("last")
            over = last
            if last or self._evaluation_is_due():
                metrics = self.evaluate(final=last)
                over = last or self._stops_early()
            if stop and not over:
                words = "was written, resume goes on from there" if is_saved else "could not be written"
                raise KeyboardInterrupt(f"train: stopped at step {state.step} of {self.total}; "
                                        f"{self.out / 'last.pt'} {words}")
        return metrics

    def _evaluation_is_due(self):
        every = self.config.eval.every
        return self.val is not None and (self.state.step == self.total or
                                         every is not None and self.state.step > 0 and self.state.step % every == 0)

    def _evaluation_is_missing(self):
        """Whether the run that is resumed ended before or in the evaluation of its checkpoint."""
        told = self.process.share_first(self.records and self.records.evaluated)
        return self._evaluation_is_due() and self.state.step not in told

    def _is_stale(self):
        """Whether ``eval.patience`` evaluations have come since the best one; those in the log count."""
        patience, best = self.config.eval.patience, self.state.best
        if patience is None or best is None:
            return False
        return self.process.share_first(
            self.records and sum(step > best["step"] for step in self.records.evaluated) >= patience)

    def _stops_early(self):
        """Whether the run ends before its last step; its weights are exported and it is told then."""
        if self.state.step == self.total or not self._is_stale():
            return False
        self._export()
        best = self.state.best
        self.progress.say(f"stopped at step {self.state.step} of {self.total}: {self.config.eval.patience} evaluations "
                          f"since the best {best['name']}, {best['value']:.4f} at step {best['step']}")
        return True

    def _fetched(self, fetch):
        """The next batch on the device and the seconds of waiting for it.

        Raises:
            OSError, ValueError: an image could not be read. A single process has saved what was learnt.
        """
        begun = time.perf_counter()
        try:
            images, targets = next(fetch)
            self._pass_over(targets)
            return to_device(images, targets, self.device), time.perf_counter() - begun
        except Exception as error:
            words = ""
            # Several processes gather their random states for a checkpoint, and the others are within the step.
            if self.process.world == 1 and self.state.step > 0 and self.save("last"):
                words = f"; {self.out / 'last.pt'} was written, resume goes on from there"
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(f"train: step {self.state.step + 1}: {sentence(error)}{words}") from error

    def _pass_over(self, targets):
        """Note the images that ``data.on_error`` "skip" has passed over for these targets."""
        if self.config.data.on_error != "skip":
            return
        own = {place: text for target in targets for place, text in target.pop("unread", {}).items()}
        every = {place: text for part in self.process.gather(own) for place, text in part.items()}
        for place, text in self.unread.add(every).items():
            self.note({"kind": "unread", "step": self.state.step, "place": place,
                       "image_id": self.dataset.image_ids[place], "text": text})
            self.progress.say(f"passed over: {text}")

    def _draw(self, images, targets):
        """Draw the first step's images of the first process, as they are given to the model."""
        if self.state.step == 0 and self.process.first and self.config.run.batch_picture:
            self.failures.attempt("batch.png", lambda: draw_batch(
                self.out / "batch.png", images, targets, self.categories, self.config.model.image,
                most=self.config.run.batch_picture))

    def note(self, record):
        """Add a record to the log."""
        if self.records is not None:
            self.failures.attempt("the log", self.records.add, record)

    def save(self, *names):
        """Write the state as NAME.pt of each name; whether all were written."""
        content = self.state.to_checkpoint(process=self.process, batches=self.batches, config=plain(self.config),
                                           categories=self.categories)

        def write(name):
            if self.process.first:
                checkpoint.save(self.out / name, content)
            return True

        return all([self.failures.together(f"{name}.pt", write, f"{name}.pt") for name in names])

    def evaluate(self, final):
        """Figures and results of the present weights, or None; the weights are kept if they are the best so far.

        ``final`` weights are exported first.
        """
        if final:
            self._export()
        if self.val is None:
            return None
        metrics = self.val.evaluate(self.state.judged, self.config, device=self.device, process=self.process,
                                    failures=self.failures)
        if metrics is None:
            return None
        if self.state.note_best(self.val.best, self.val.figure(metrics)):
            self.save("best", "last")
        self.note(_eval_record(self.state.step, metrics))
        self.progress.say(f"step {self.state.step}\n{table(metrics['scores'])}")
        return metrics

    def _export(self):
        """Write ``model.safetensors``."""
        if self.process.first:
            self.failures.attempt("model.safetensors", lambda: checkpoint.export_safetensors(
                self.out / "model.safetensors", self.state.judged.state_dict(), plain(self.config), self.categories))

    def close(self):
        """Close the log and the progress bar, and let go of the group of processes, whatever an exception keeps."""
        self.wrapped = None
        self.progress.close()
        if self.records is not None:
            self.failures.attempt("the log", self.records.close)


def _wrap(model, device, process):
    if process.world == 1:
        return model
    # A step without a positive box in one process leaves its mask branch without a gradient.
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None,
                                   find_unused_parameters=True)


def _batches(dataset, batches, workers, config, step, total):
    """Yields (images, targets) from ``step`` to the end of the run."""
    if config.data.on_error == "skip":
        dataset = Skipping(dataset)
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers,
                        collate_fn=data.collate, persistent_workers=workers > 0,
                        generator=torch.Generator())  # the global one must not feel the loader
    while step < total:
        # Between epochs, because workers share the epoch and must not run ahead of it.
        dataset.set_epoch(batches.seek(step))
        for batch in loader:
            yield batch
            step += 1


def _one_step(wrapped, state, batch, waited, config, total, *, device, process, stop, epoch):
    begun = time.perf_counter()
    images, targets = batch
    rate = config.optimizer.lr * learning_rate_factor(config.schedule, state.step, total)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    losses, norm, stop = optimise(wrapped, state, images, targets, config, device=device,
                                  process=process, stop=stop)
    state.step += 1
    record = {"kind": "train", "step": state.step, "epoch": epoch, "lr": rate, **losses,
              "seconds": waited + time.perf_counter() - begun, "data_seconds": waited,
              "images": config.data.batch_size}
    if norm is not None:
        record["gradient_norm"] = norm
    if device.type == "cuda":
        record["memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return record, stop


def _eval_record(step, metrics):
    flat = {f"{kind}/{name}": value for kind, figures in metrics["scores"].items()
            for name, value in figures.items() if not isinstance(value, dict)}
    return {"kind": "eval", "step": step, **flat}
