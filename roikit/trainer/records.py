"""What a run writes down: one JSON line a step, TensorBoard where installed, the curves."""

import json
import warnings
from pathlib import Path

from roikit.errors import RoikitWarning
from roikit.trainer.checkpoint import write_atomically
from roikit.trainer.extras import extra

__all__ = ["Records", "draw_curves", "read_records"]

# The figures of an evaluation that are drawn.
_CURVES = ("AP", "AP50", "mIoU", "pixel_accuracy")


class Records:
    """Appends records to ``log.jsonl`` and mirrors their numbers to TensorBoard.

    Each record is a flat dict with ``kind`` ("train", "eval", or "unread" for an image that was passed over) and
    ``step`` (steps done).

    Args:
        folder: the run's folder.
        step: steps done so far; records of later steps, left by an interrupted run that went
            past its last checkpoint, are dropped.

    Attributes:
        evaluated: the steps whose evaluation is in the log; a second one of the same step is not added.
        unread: place in the data set -> sentence, of the images that the log says could not be read.
    """

    def __init__(self, folder, step=0):
        self.path = Path(folder) / "log.jsonl"
        kept = [r for r in read_records(self.path) if r["step"] <= step] if step else []
        self.evaluated = {r["step"] for r in kept if r["kind"] == "eval"}
        self.unread = {r["place"]: r["text"] for r in kept if r["kind"] == "unread"}
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_atomically(self.path, lambda file: file.write(text.encode()))
        self._file = open(self.path, "a", encoding="utf-8")
        self._board = _tensorboard(folder, step)

    def add(self, record):
        if record["kind"] == "eval":
            if record["step"] in self.evaluated:
                return
            self.evaluated.add(record["step"])
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self):
        self._file.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder, step):
    try:
        from torch.utils.tensorboard import SummaryWriter
        return SummaryWriter(str(Path(folder) / "tensorboard"), purge_step=step or None)
    except ImportError:
        return None
    except Exception as error:  # its dependencies often do not fit each other
        warnings.warn(f"train: TensorBoard does not start, the run goes on without: {error}", RoikitWarning,
                      stacklevel=3)
        return None


def read_records(path):
    """The records of a ``log.jsonl``; a last line that was cut off is left out."""
    path = Path(path)
    records = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return records


def draw_curves(records, path):
    """Losses, learning rate and AP, or mean IoU and accuracy, over the steps as a PNG.

    Args:
        records: of ``read_records``.
        path: the picture to write.
    """
    extra("matplotlib", "drawing curves").use("Agg")
    pyplot = extra("matplotlib.pyplot", "drawing curves")
    steps = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    figure, (losses, scores) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    at = [r["step"] for r in steps]
    names = ["loss", *sorted({n for r in steps for n in r if n.startswith("loss_")})]
    for name in names:
        values = [r.get(name, float("nan")) for r in steps]
        smooth = _smoothed(values)
        line, = losses.plot(at, smooth, label=name, linewidth=2.0 if name == "loss" else 1.0)
        if name == "loss":
            losses.plot(at, values, color=line.get_color(), alpha=0.25, linewidth=0.7)
    losses.set(xlabel="step", ylabel="loss", title="training loss")
    if steps:
        losses.legend(fontsize="small")
        rate = losses.twinx()
        rate.plot(at, [r["lr"] for r in steps], color="0.6", linestyle=":", linewidth=1.0)
        rate.set_ylabel("learning rate (dotted)")
    for name in sorted({n for r in evals for n in r if n.split("/")[-1] in _CURVES}):
        scores.plot([r["step"] for r in evals], [r.get(name, float("nan")) for r in evals],
                    marker="o", markersize=3, label=name)
    scores.set(xlabel="step", ylabel="score of the val part", title="val", ylim=(0, 1))
    if evals:
        scores.legend(fontsize="small")
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _smoothed(values, keep=0.9):
    """Exponential mean, corrected for its start."""
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out
