"""A segmenter over the images of a data set, and the val part that it is judged on."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roikit.data import SemanticDataset
from roikit.data.semantic import IGNORED
from roikit.errors import RoikitWarning, naming
from roikit.trainer.categories import pair_categories
from roikit.trainer.draw import display_image, side_by_side
from roikit.trainer.draw_pixels import draw_classes
from roikit.trainer.kinds import figure_of
from roikit.trainer.pixel_scores import PIXEL_FIGURES, confusion, pixel_scores
from roikit.trainer.report import Report, write_page
from roikit.trainer.running import Looking, evaluation_of
from roikit.trainer.sentences import sentence_about

__all__ = ["FIGURES", "PixelValidation", "label_table", "look", "read_share", "report_pixels"]

KIND = "semantic"
FIGURES = tuple(f"{KIND}/{name}" for name in PIXEL_FIGURES)  # that may pick the best checkpoint


def label_table(categories, dataset, sides):
    """Which value of the model each value of a data set's label maps is.

    Args:
        categories: of the model, [{"id": value, "name"}, ...].
        dataset: ``SemanticDataset``.
        sides: what the two are called in the text.

    Returns:
        (256,) uint8, 255 for what the model does not know; and a line where the two lists differ, or None.

    Raises:
        ValueError: they have nothing in common.
    """
    table = np.arange(256, dtype=np.uint8)
    theirs = dataset.categories
    if not theirs or [c["name"] for c in theirs] == [c["name"] for c in categories]:
        return table, None
    pairs = pair_categories(categories, theirs, sides=sides)
    if all(found is None for found in pairs.ids):
        raise ValueError(f"{sides[1]} has no class of {sides[0]}: {pairs.text()}")
    table[:] = IGNORED
    for category, found in zip(categories, pairs.ids, strict=True):
        if found is not None:
            table[found] = category["id"]
    return table, pairs.text() if pairs.differ else None


def look(model, dataset, table, num_classes, *, share=None, keep=0, device="cpu", amp="off", batch_size=1, workers=0,
         on_error=None):
    """Run a segmenter over a data set.

    Args:
        model: its mode is put back.
        dataset: ``SemanticDataset``.
        table: of `label_table`.
        num_classes: of the model.
        share: places in the data set to look at; None for all.
        keep: the label maps found are kept of so many first images.
        on_error: called with the path and the exception for each image that could not be read, or is too large for the
            memory; its pixels do not count.

    Returns:
        (C, C + 1) int64, as `confusion` of all images; a dict, place -> (H, W) uint8 label map; and the ``speed``
        of `Looking`.
    """
    matrix, kept = np.zeros((num_classes, num_classes + 1), np.int64), {}
    with evaluation_of(model, device, amp) as run:
        looking = Looking(run, dataset, share=share, batch_size=batch_size, workers=workers)
        for place, output, target in looking:
            classes = output["classes"].to("cpu").numpy()
            matrix += confusion(classes, table[target["semantic"].numpy()], num_classes, IGNORED)
            if place < keep:
                kept[place] = classes.astype(np.uint8)
    for place, text in sorted(looking.failed.items()):
        if on_error is not None:
            on_error(dataset.image_path(place), OSError(text))
    return matrix, kept, looking.speed


def read_share(process, dataset):
    """The places that this process looks at."""
    return range(process.rank, len(dataset), process.world)


@dataclass(frozen=True)
class PixelValidation:
    """A val part with label maps; the counterpart of `roikit.trainer.validation.Validation`.

    Attributes:
        dataset: its images.
        categories: of the model.
        table: of `label_table`.
        best: the figure that picks the best checkpoint.
        notes: lines about it for the user.
        written: the file of ``write``.
    """

    dataset: SemanticDataset
    categories: list[dict[str, Any]]
    table: np.ndarray
    best: str
    notes: tuple[str, ...] = ()
    written: str = "confusion.json"
    names: list[str] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "names", [c["name"] for c in self.categories])

    def evaluate(self, model, config, *, device, process, failures):
        """The figures of a model, or None on every process where one of them failed; every process must call this.

        Images that cannot be read are a failure, too; their pixels do not count.

        Returns:
            {"scores": {"semantic": figures}, "speed", "results": {"matrix", "maps"}}.
        """
        process.share_buffers(model)
        unread = []
        found = failures.together("the evaluation", lambda: look(
            model, self.dataset, self.table, len(self.names), share=read_share(process, self.dataset),
            keep=config.run.predictions, device=device, amp=config.run.amp, batch_size=config.eval.batch_size,
            on_error=lambda path, error: unread.append(sentence_about(path, error))))
        if found is None:
            return None
        unread = [text for part in process.gather(unread) for text in part]
        if unread:
            failures.note("reading val images", f"{len(unread)} of {len(self.dataset)}, whose pixels do not count; the "
                                                f"first is {unread[0]}")
        matrix = sum(process.gather(found[0]))
        maps = {place: labels for part in process.gather(found[1]) for place, labels in part.items()}
        return {"scores": {KIND: pixel_scores(matrix, self.names)}, "speed": found[2],
                "results": {"matrix": matrix, "maps": maps}}

    def figure(self, metrics):
        """The value in ``metrics`` that picks the best checkpoint."""
        return figure_of(metrics["scores"], self.best)

    def write(self, out, results):
        """Write ``confusion.json``: the classes, and how many pixels of each were taken for which."""
        write_confusion(out, results["matrix"], self.names)

    def sheet(self, index, results, config):
        """The picture of the index-th image: the classes found beside those annotated."""
        sample = self.dataset.sample(index)
        image, truth = display_image(sample.image), self.table[sample.semantic]
        found = results["maps"].get(index)
        if found is None:
            raise OSError("no classes were found, for the image could not be read")
        known = truth != IGNORED
        right = f"{(found == truth)[known].mean():.1%} of the pixels are right" if known.any() else "nothing is known"
        pictures = [draw_classes(image, labels, self.names) for labels in (found, truth)]
        height = max(len(picture) for picture in pictures)
        pictures = [np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
                    for picture in pictures]
        return side_by_side(pictures, [f"predicted: {right}", "annotated"])

    def report(self, out, judged, config, **words):
        """Write ``report.html`` on an evaluation into a folder."""
        report_pixels(out, judged["results"]["matrix"], self.names, scores=judged["scores"], **words)

    def warn(self, judged):
        """Warn of a mean IoU of exactly 0."""
        warn_of_no_overlap(judged["scores"][KIND])


def write_confusion(out, matrix, names):
    """Write ``confusion.json`` into the folder ``out``."""
    content = {"classes": names, "matrix": matrix.tolist()}
    with naming(Path(out) / "confusion.json"):
        (Path(out) / "confusion.json").write_text(json.dumps(content) + "\n")


def report_pixels(out, matrix, names, **words):
    """Write ``report.html`` on a confusion matrix of pixels; ``words`` are others of the Report."""
    pixels = {"names": [*names, "none of them"], "matrix": matrix.tolist()}
    write_page(Path(out) / "report.html", Report(pixels=pixels, **words))


def warn_of_no_overlap(figures, stacklevel=3):
    """Warn of a mean IoU of exactly 0: nearly always the labels do not mean the same on the two sides."""
    import warnings

    if figures["mIoU"] == 0.0:
        warnings.warn("evaluate: mIoU is exactly 0: no pixel of any class was found; the label maps' values may mean "
                      "something else than the model's", RoikitWarning, stacklevel=stacklevel)
