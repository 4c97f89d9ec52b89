"""A panoptic model over the images of a data set, and the val part that it is judged on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roikit import masks as rle
from roikit.data import PanopticDataset
from roikit.data.semantic import IGNORED
from roikit.trainer.categories import pair_categories
from roikit.trainer.draw import display_image, side_by_side
from roikit.trainer.draw_pixels import draw_classes
from roikit.trainer.evaluation import coco_results, warn_of_zero, write_detections
from roikit.trainer.kinds import class_figures, figure_of, limits_of
from roikit.trainer.panoptic_scores import PANOPTIC_FIGURES, PanopticTally, figures_of
from roikit.trainer.pixel_evaluation import read_share
from roikit.trainer.pixel_scores import PIXEL_FIGURES, confusion, pixel_scores
from roikit.trainer.report import Report, write_page
from roikit.trainer.report.detections import paths_in, report_detections
from roikit.trainer.running import Looking, evaluation_of
from roikit.trainer.scores import coco_scores, figure_names
from roikit.trainer.sentences import sentence_about
from roikit.trainer.truth import read_truth

__all__ = ["KIND", "Pairs", "PanopticValidation", "Seen", "category_map", "figures_known", "look", "mask_text",
           "pairs_of", "report_segments", "scores_of", "seen_by_all"]

KIND = "panoptic"


@dataclass(frozen=True)
class Pairs:
    """Which category of a data set is which of the model.

    Attributes:
        categories: of the model, things first, {"id", "name", "isthing"}.
        own: (D + 1,) int64, the model's category, from 1, of each of the data set's; 0 where it knows none.
        ids: of each category of the model, its id in the data set, or None.
        note: a line where the two lists differ, or None.
    """

    categories: list[dict[str, Any]]
    own: np.ndarray
    ids: list[Any]
    note: str | None

    @property
    def things(self):
        """How many categories of things the model has; they are the first."""
        return sum(bool(c["isthing"]) for c in self.categories)

    @property
    def names(self):
        return [c["name"] for c in self.categories]


def pairs_of(categories, dataset, sides):
    """The `Pairs` of a model's categories and a data set's; things go with things, stuff with stuff.

    Raises:
        ValueError: they have nothing in common.
    """
    theirs, own, ids, notes = dataset.categories, np.zeros(len(dataset.categories) + 1, np.int64), [], []
    place = {c["id"]: k for k, c in enumerate(theirs, start=1)}
    for kind in (1, 0):
        ours = [c for c in categories if bool(c["isthing"]) == bool(kind)]
        pairs = pair_categories(ours, [c for c in theirs if c["isthing"] == kind], sides=sides)
        for found in pairs.ids:
            ids.append(found)
            if found is not None:
                own[place[found]] = len(ids)
        notes += [pairs.text()] if pairs.differ else []
    if not own.any():
        raise ValueError(f"{sides[1]} has no category of {sides[0]}: {'; '.join(notes)}")
    return Pairs(categories, own, ids, "; ".join(notes) or None)


@dataclass
class Seen:
    """What a look at some images has counted.

    Attributes:
        tally: of segments.
        matrix: of classes of pixels, as of `confusion`: 0 for a thing, then stuff.
        results: COCO results of things.
        objects: the truth's things as COCO annotations.
        maps: place -> (ids, segments) found on the images that are to be drawn.
        pairs: place -> what `PanopticTally.add` returned for the image.
        missed: places of the images that could not be looked at.
    """

    tally: PanopticTally
    matrix: np.ndarray
    results: list
    objects: list
    maps: dict
    pairs: dict = field(default_factory=dict)
    missed: list = field(default_factory=list)


def seen_by_all(parts, dataset):
    """The ``Seen`` of several processes together, as it would be of one that looks at all images of a data set."""
    if len(parts) == 1:
        return parts[0]
    place = {image: k for k, image in enumerate(dataset.image_ids)}
    pairs, missed = {}, set()
    for part in parts:
        pairs |= part.pairs
        missed |= set(part.missed)
    results, objects = ([item for part in parts for item in getattr(part, name)] for name in ("results", "objects"))
    return Seen(PanopticTally.together([part.tally for part in parts], [pairs[k] for k in sorted(pairs)]),
                sum(part.matrix for part in parts), sorted(results, key=lambda item: place[item["image_id"]]),
                sorted(objects, key=lambda item: (place[item["image_id"]] in missed, place[item["image_id"]])),
                {k: found for part in parts for k, found in part.maps.items()}, pairs, sorted(missed))


def look(model, dataset, pairs, *, share=None, keep=0, device="cpu", amp="off", batch_size=1, workers=0, on_error=None,
         on_map=None):
    """Run a panoptic model over a data set.

    Args:
        model: its mode and mask format are put back.
        dataset: ``PanopticDataset``.
        pairs: ``Pairs``.
        share: places in the data set to look at; None for all.
        keep: the maps found are kept of so many first images.
        on_error: called with the path and the exception for each image that could not be read, or is too large for the
            memory; what is on it counts as missed, if that can be read.
        on_map: called with the place, (H, W) int32 ids and the segments found of each image.

    Returns:
        ``Seen``; and the ``speed`` of `Looking`.
    """
    things = pairs.things
    stuff = len(pairs.categories) - things
    seen = Seen(PanopticTally(len(pairs.categories)), np.zeros((stuff + 1, stuff + 2), np.int64), [], [], {})
    # Of the data set's categories the value in label maps: 0 of things, 1, 2, ... of stuff, 255 of what is unknown.
    value = np.where(pairs.own > things, pairs.own - things, np.where(pairs.own > 0, 0, IGNORED))
    with evaluation_of(model, device, amp) as run:
        looking = Looking(run, dataset, share=share, batch_size=batch_size, workers=workers)
        for place, output, target in looking:
            ids, segments = output["panoptic"].cpu().numpy(), output["segments"]
            truth, listed = _true(dataset, place, pairs)
            seen.pairs[place] = seen.tally.add(ids, segments, truth, listed)
            labels = _labels(truth, listed, value)
            seen.matrix += confusion(output["classes"].cpu().numpy(), labels, stuff + 1, IGNORED)
            seen.results += coco_results(output, int(target["image_id"]), pairs.ids)
            seen.objects += _objects(dataset, place, truth, listed)
            if place < keep:
                seen.maps[place] = ids, segments
            if on_map is not None:
                on_map(place, ids, segments)
    for place, text in sorted(looking.failed.items()):
        seen.missed.append(place)
        _miss(seen, dataset, place, pairs)
        if on_error is not None:
            on_error(dataset.image_path(place), OSError(text))
    return seen, looking.speed


def _true(dataset, place, pairs):
    """The truth of an image, its ``category`` the model's, None where it has none; ``theirs`` is the data set's."""
    truth, listed = dataset.truth(place)
    return truth, [{**s, "category": int(pairs.own[s["category"]]) or None, "theirs": s["category"]} for s in listed]


def _miss(seen, dataset, place, pairs):
    """Count what is on an image that could not be looked at as missed."""
    try:
        truth, listed = _true(dataset, place, pairs)
    except (OSError, ValueError, MemoryError):
        return  # the truth itself cannot be read
    seen.tally.add(np.zeros_like(truth), [], truth, listed)
    seen.objects += _objects(dataset, place, truth, listed)


def _labels(truth, listed, value):
    """(H, W) uint8 classes of pixels of a map of segments; crowds and void are 255."""
    labels = np.full(truth.shape, IGNORED, np.uint8)
    table = {s["id"]: IGNORED if s["iscrowd"] else value[s["theirs"]] for s in listed}
    known, places = np.unique(truth, return_inverse=True)
    labels[...] = np.array([table.get(number, IGNORED) for number in known.tolist()])[places.reshape(truth.shape)]
    return labels


def _objects(dataset, place, truth, listed):
    """The things of an image as COCO annotations; masks are what is to be seen of them."""
    found, count = [], len(dataset.category_ids)
    for segment in listed:
        if segment["theirs"] > count:
            continue
        mask = rle.encode(np.asfortranarray(truth == segment["id"], np.uint8))
        found.append({"image_id": dataset.image_ids[place], "category_id": dataset.category_ids[segment["theirs"] - 1],
                      "iscrowd": segment["iscrowd"], "area": segment["area"], "bbox": rle.toBbox(mask).tolist(),
                      "segmentation": mask_text(mask)})
    return found


def mask_text(mask):
    """A compressed RLE as JSON takes it."""
    return {"size": [int(n) for n in mask["size"]], "counts": mask["counts"].decode("ascii")}


def scores_of(seen, dataset, pairs, config, limits=None):
    """Kind -> figures: "panoptic"; and of its parts "bbox" and "segm" of things, "semantic" of classes of pixels."""
    names, things = pairs.names, pairs.things
    scores = {KIND: figures_of(seen.tally, names, [k < things for k in range(len(names))])}
    if any(not a["iscrowd"] for a in seen.objects):
        content = _things(seen, dataset)
        for kind in ("bbox", "segm"):
            scores[kind] = coco_scores(content, seen.results, kind, max_detections=limits or limits_of(kind, config))
    scores["semantic"] = pixel_scores(seen.matrix, ["things", *names[things:]])
    return scores


def _things(seen, dataset):
    """The things of the truth as what a COCO annotation file holds."""
    names = [dataset.image_path(place).relative_to(dataset.images).as_posix() for place in range(len(dataset))]
    images = [{"id": number, "height": int(h), "width": int(w), "file_name": name}
              for number, (h, w), name in zip(dataset.image_ids, dataset.sizes, names, strict=True)]
    return {"images": images, "categories": [c for c in dataset.categories if c["isthing"]],
            "annotations": [{**a, "id": k} for k, a in enumerate(seen.objects, start=1)]}


def report_segments(out, seen, dataset, scores, config, limits=None, **words):
    """Write ``report.html`` on an evaluation into the folder ``out``; its pictures show the things.

    Args:
        seen: ``Seen``.
        scores: of `scores_of`.
        config: ``TrainConfig``.
        limits: numbers of detections an image, if not as configured.
        words: others of the Report.
    """
    kinds = [kind for kind in ("bbox", "segm") if kind in scores]
    if not kinds:
        write_page(Path(out) / "report.html", Report(scores=scores, **words))
        return
    report_detections(out, read_truth(_things(seen, dataset)), seen.results, kinds, path_of=paths_in(dataset),
                      max_detections={kind: limits or limits_of(kind, config.eval) for kind in kinds},
                      score_threshold=config.run.score_threshold, pictures=config.run.report, scores=scores, **words)


def category_map(ids, segments, count):
    """(H, W) of the place of each pixel's category, from 0; 255 where there is none, or only a crowd."""
    table = {s["id"]: s["category"] - 1 for s in segments
             if s["category"] and s["category"] <= min(count, IGNORED) and not s.get("iscrowd")}
    known, places = np.unique(ids, return_inverse=True)
    return np.array([table.get(number, IGNORED) for number in known.tolist()])[places.reshape(np.shape(ids))]


def figures_known(max_detections, categories):
    """Names kind/figure of what may pick the best checkpoint, of a model's categories; PQ comes first."""
    things, stuff = ([c["name"] for c in categories if bool(c["isthing"]) is kind] for kind in (True, False))
    return [f"{KIND}/{name}" for name in PANOPTIC_FIGURES] + [
        f"{kind}/{name}" for kind in ("bbox", "segm") for name in figure_names(kind, max_detections)] + [
        f"semantic/{name}" for name in PIXEL_FIGURES] + class_figures([KIND], [*things, *stuff]) + class_figures(
        ("bbox", "segm"), things) + class_figures(["semantic"], stuff)


@dataclass(frozen=True)
class PanopticValidation:
    """A val part with things and stuff; the counterpart of `roikit.trainer.validation.Validation`.

    Attributes:
        dataset: its images.
        pairs: of the model's categories and its own.
        best: the figure that picks the best checkpoint.
        notes: lines about it for the user.
        written: the file of ``write``.
    """

    dataset: PanopticDataset
    pairs: Pairs
    best: str
    notes: tuple[str, ...] = ()
    written: str = "detections.json"

    def evaluate(self, model, config, *, device, process, failures):
        """The figures of a model, or None on every process where one of them failed; every process must call this.

        Images that cannot be read are a failure, too, but what is on them counts as missed.

        Returns:
            {"scores": kind -> figures, "speed", "results": ``Seen``}.
        """
        process.share_buffers(model)
        unread = []
        found = failures.together("the evaluation", lambda: look(
            model, self.dataset, self.pairs, share=read_share(process, self.dataset), keep=config.run.predictions,
            device=device, amp=config.run.amp, batch_size=config.eval.batch_size,
            on_error=lambda path, error: unread.append(sentence_about(path, error))))
        if found is None:
            return None
        unread = [text for part in process.gather(unread) for text in part]
        if unread:
            failures.note("reading val images", f"{len(unread)} of {len(self.dataset)}, what is on them counts as "
                                                f"missed; the first is {unread[0]}")
        first = seen_by_all(process.gather(found[0]), self.dataset)
        scores = failures.together("the evaluation", lambda: scores_of(
            first, self.dataset, self.pairs, config.eval) if process.first else {})
        if scores is None:
            return None
        return {"scores": process.share_first(scores), "speed": found[1], "results": first}

    def figure(self, metrics):
        """The value in ``metrics`` that picks the best checkpoint; -1 of APs where there is no object."""
        return figure_of(metrics["scores"], self.best)

    def write(self, out, results):
        """Write the detections of things into a folder."""
        write_detections(out, results.results)

    def sheet(self, index, results, config):
        """The picture of the index-th image: the segments found beside those annotated."""
        image = display_image(self.dataset.sample(index).image)
        if index not in results.maps:
            raise OSError("no segments were found, for the image could not be read")
        sides = [results.maps[index], _true(self.dataset, index, self.pairs)]
        names = self.pairs.names
        pictures = [draw_classes(image, category_map(*side, len(names)), names, segments=side[0]) for side in sides]
        height = max(len(picture) for picture in pictures)
        pictures = [np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
                    for picture in pictures]
        tally = PanopticTally(len(names))
        tally.add(*sides[0], *sides[1])
        return side_by_side(pictures, [f"predicted: {int(tally.matched.sum())} of {len(sides[0][1])} segments match",
                                       f"annotated: {len(sides[1][1])}"])

    def report(self, out, judged, config, **words):
        """Write ``report.html`` on an evaluation into a folder, and what goes with it."""
        report_segments(out, judged["results"], self.dataset, judged["scores"], config, **words)

    def warn(self, judged):
        """Warn of figures that tell of a mistake in the data."""
        kinds = {kind: judged["scores"][kind] for kind in ("bbox", "segm") if kind in judged["scores"]}
        warn_of_zero(kinds, {"annotations": judged["results"].objects}, judged["results"].results)
