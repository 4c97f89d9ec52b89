"""The val part of a run: what it needs is looked at before the first step, so that no evaluation ends a training."""

import sys
from dataclasses import dataclass, field
from typing import Any

from roikit.data import CocoDataset
from roikit.data.keypoints import skeletons_of
from roikit.trainer.asked import asks_for_keypoints
from roikit.trainer.categories import pair_categories
from roikit.trainer.evaluation import detect, warn_of_zero, write_detections
from roikit.trainer.failures import on_first, telling
from roikit.trainer.finish import detection_sheet
from roikit.trainer.kinds import check_keypoints, class_figures, figure_of, kinds_of_model, known_figure, limits_of
from roikit.trainer.reading import read_annotations
from roikit.trainer.report.detections import paths_in, report_detections
from roikit.trainer.scores import class_names, coco_scores, figure_names, warn_of_reasons
from roikit.trainer.sentences import sentence_about
from roikit.trainer.shares import Share
from roikit.trainer.trained import told_name, val_paths, val_set
from roikit.trainer.truth import Truth, objects_of, read_truth

__all__ = ["Validation", "prepare_validation"]

# So many annotations take seconds to be read.
_MANY = 20_000


@dataclass(frozen=True)
class Validation:
    """A val part that can be evaluated.

    Attributes:
        dataset: its images.
        truth: its annotations.
        categories: [{"id", "name"}, ...] in the order of the model's labels, with the val file's ids; an id is None
            where the val file lacks that category.
        kinds: "bbox" and, where model and val part have masks or keypoints, "segm" and "keypoints".
        best: the figure that picks the best checkpoint, "segm/AP" say.
        skeletons: the val file's category id -> Skeleton, of a model with keypoints.
        notes: lines about it for the user.
        written: the file of ``write``.
    """

    dataset: CocoDataset
    truth: Truth
    categories: list[dict[str, Any]]
    kinds: tuple[str, ...]
    best: str
    skeletons: dict[int, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    written: str = "detections.json"

    @property
    def names(self):
        """Name of each category id of the val file."""
        return {c["id"]: str(c.get("name", c["id"])) for c in self.truth.categories}

    def evaluate(self, model, config, *, device, process, failures):
        """The figures of a model, or None on every process where one of them failed; every process must call this.

        Images that cannot be read are a failure, too, but their objects count as missed.

        Returns:
            {"scores": kind -> figures, "speed", "results": COCO results on the first process, else []}.
        """
        process.share_buffers(model)
        share = Share(self.dataset, range(process.rank, len(self.dataset), process.world))
        unread = []
        found = failures.together("the evaluation", lambda: detect(
            model, share, self.categories, device=device, amp=config.run.amp, batch_size=config.eval.batch_size,
            on_error=lambda path, error: unread.append(sentence_about(path, error))))
        if found is None:
            return None
        unread = [text for part in process.gather(unread) for text in part]
        if unread:
            failures.note("reading val images", f"{len(unread)} of {len(self.dataset)}, whose objects count as missed; "
                                                f"the first is {unread[0]}")
        place = {image: k for k, image in enumerate(self.dataset.image_ids)}
        results = [r for part in process.gather(found[0]) for r in part]
        results = sorted(results, key=lambda r: place[r["image_id"]]) if process.first else []
        scores = failures.together("the evaluation", lambda: self.score(results, config) if process.first else {})
        if scores is None:
            return None
        return {"scores": process.share_first(scores), "speed": found[1], "results": results}

    def score(self, results, config):
        """Kind of overlap -> figures of COCO results."""
        return {kind: coco_scores(self.truth, results, kind, image_ids=self.dataset.image_ids,
                                  max_detections=limits_of(kind, config.eval), sigmas=config.eval.sigmas)
                for kind in self.kinds}

    def figure(self, metrics):
        """The value in ``metrics`` that picks the best checkpoint."""
        return figure_of(metrics["scores"], self.best)

    def write(self, out, results):
        """Write the detections of an evaluation into a folder."""
        write_detections(out, results)

    def sheet(self, index, results, config):
        """The picture of the index-th image: what was found beside what is annotated."""
        return detection_sheet(self, index, results, config)

    def report(self, out, judged, config, **words):
        """Write ``report.html`` on an evaluation into a folder, and what goes with it."""
        report_detections(out, self.truth, judged["results"], self.kinds, path_of=paths_in(self.dataset),
                          max_detections={kind: limits_of(kind, config.eval) for kind in self.kinds},
                          image_ids=self.dataset.image_ids, score_threshold=config.run.score_threshold,
                          pictures=config.run.report, scores=judged["scores"], **words)

    def warn(self, judged):
        """Warn of figures that tell of a mistake in the data."""
        warn_of_zero(judged["scores"], {"annotations": self.truth.annotations}, judged["results"])


def prepare_validation(config, categories, process):
    """The val part of a configuration, or None where it names none; every process must call this.

    Args:
        config: ``TrainConfig``.
        categories: of the training part, in the order of the labels, as a checkpoint has them.

    Raises:
        OSError: the annotation file cannot be read.
        ValueError: it cannot be evaluated on.
        ConfigError: ``eval.best`` names no figure.
    """
    paths = val_paths(config)
    if paths is None:
        return None
    with telling("the val part"):
        content = read_annotations(*paths, told_name(config, "val"))
        truth, dataset = read_truth(content), val_set(config, content=content)
    pairs = pair_categories(categories, truth.categories, sides=("train", "val"))
    notes = [pairs.text()] if pairs.differ else []
    if all(found is None for found in pairs.ids):
        raise ValueError(f"train: the val part shares no category with the training part: {pairs.text()}")
    kinds = kinds_of_model(config.model, masks=dataset.has_masks, keypoints=dataset.has_keypoints)
    if "keypoints" in kinds:
        with telling("the val part"):
            check_keypoints(categories, dataset, config.eval.sigmas)
    skeletons = skeletons_of([{**c, "id": found} for found, c in zip(pairs.ids, categories, strict=True)
                              if found is not None])
    own = [{"id": found, "name": c["name"]} for found, c in zip(pairs.ids, categories, strict=True)]
    known = on_first(process, _figures, config, truth, kinds)
    best = _best(config.eval.best, known)
    lacking = [what for what, asked, given in (("masks", config.model.mask is not None, dataset.has_masks),
                                               ("keypoints", asks_for_keypoints(config.model), dataset.has_keypoints))
               if asked and not given]
    if lacking:
        left = "boxes alone are evaluated" if kinds == ("bbox",) else f"{' and '.join(kinds)} are evaluated"
        notes.append(f"the val part has no {' and no '.join(lacking)}: {left}, and {best} picks best.pt")
    return Validation(dataset, truth, own, kinds, best, skeletons, tuple(notes))


def _figures(config, truth, kinds):
    """Names of all figures, "bbox/AP" say. Every object is read, as any evaluation will."""
    if len(truth.annotations) >= _MANY:
        print(f"reading the {len(truth.annotations)} annotations of the val part", file=sys.stderr, flush=True)
    with telling("the val part"):
        for kind in kinds:
            warn_of_reasons(objects_of(truth, kind)[1], kind)
        return [f"{kind}/{name}" for kind in kinds for name in figure_names(kind, config.eval.max_detections)
                ] + class_figures(kinds, class_names(truth))


def _best(wanted, known):
    """The known figure that ``eval.best`` means: that of the boxes where there are no such masks or keypoints."""
    meant = wanted
    kind, slash, figure = wanted.partition("/")
    if slash and kind in ("bbox", "segm", "keypoints") and not any(name.startswith(f"{kind}/") for name in known):
        meant = f"{known[0].partition('/')[0]}/{figure}"  # boxes come first, upright or rotated
    return known_figure(wanted, meant, known)
