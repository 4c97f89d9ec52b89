"""Things and stuff: a segment for each pixel."""

import warnings
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from roikit import data
from roikit import masks as rle
from roikit.data.findings import counted
from roikit.data.semantic_dataset import is_semantic_source, semantic_content
from roikit.errors import RoikitWarning
from roikit.trainer import panoptic_evaluation as panoptic
from roikit.trainer import trained as files
from roikit.trainer.augmentation import augmented
from roikit.trainer.chosen import chosen_ids, is_choosy
from roikit.trainer.draw_pixels import draw_classes
from roikit.trainer.evaluation import write_detections, write_metrics
from roikit.trainer.failures import telling
from roikit.trainer.kinds import first_figure
from roikit.trainer.reading import read_annotations
from roikit.trainer.report.training import evaluation_words
from roikit.trainer.sentences import sentence_about
from roikit.trainer.shares import own_share, require_same, speed_of_all, told_names
from roikit.trainer.tasks.detection import Detection

__all__ = ["TASK", "Panoptic"]


class Panoptic(Detection):
    """The task of a ``DetectorConfig`` with ``panoptic``; what is not here is that of detectors.

    Its annotations are a COCO panoptic file, or a COCO file with masks, around whose objects is background.
    """

    finds_objects = False

    def train_set(self, config):
        return augmented(_dataset(config, files.train_paths(config), "train", None, config.run.seed,
                                  told=files.told_name(config, "train")), config)

    def reports(self, config):
        for name, paths in files.inspected_parts(config):
            if is_semantic_source(paths[0]):
                yield name, data.inspect_semantic(paths[1], semantic=paths[0])
            else:
                yield name, data.inspect_semantic(paths[1], paths[0])

    def fitted(self, config, dataset):
        config = super().fitted(config, dataset)
        stuff = replace(config.model.panoptic, num_stuff_classes=len(dataset.stuff))
        return replace(config, model=replace(config.model, panoptic=stuff))

    def prepare_validation(self, config, categories, process):
        best = first_figure(config.eval.best, panoptic.figures_known(config.eval.max_detections, categories))
        paths = files.val_paths(config)
        if paths is None:
            return None
        with telling("the val part"):
            dataset = _dataset(config, paths, "val", files.still_transform(config),
                               told=files.told_name(config, "val"))
            pairs = panoptic.pairs_of(categories, dataset, ("the training part", "the val part"))
        return panoptic.PanopticValidation(dataset, pairs, best, () if pairs.note is None else (pairs.note,))

    def adjusted(self, config, *, detections=None, at_least=0, score_threshold=None):
        config = super().adjusted(config, detections=detections, at_least=at_least, score_threshold=score_threshold)
        if score_threshold is None:
            return config
        merge = replace(config.model.panoptic, score_threshold=score_threshold)
        return replace(config, model=replace(config.model, panoptic=merge))

    def num_classes(self, categories):
        return sum(bool(c.get("isthing", 1)) for c in categories) + 1

    def evaluate(self, trained, annotations, images, *, iou_types, limits, use_cats, out, sigmas, on_error, process,
                 batch_size, workers):
        for name, is_given in (("iou_types", iou_types is not None), ("sigmas", sigmas is not None),
                               ("use_cats", not use_cats)):
            if is_given:
                raise ValueError(f"evaluate: {name} is for detectors, and {trained.path} is a panoptic model")
        config = trained.config
        part = "val" if annotations is None else None
        dataset = _dataset(config, files.evaluation_paths(config, annotations, images), part,
                           files.still_transform(config), told="evaluate")
        pairs = panoptic.pairs_of(trained.categories, dataset, ("the model", "the annotations"))
        if pairs.note is not None and process.first:
            warnings.warn(f"evaluate: {pairs.note}", RoikitWarning, stacklevel=3)
        require_same(process, "evaluate", images=told_names(dataset.image_ids))
        unread, kept = [], _Maps(trained.categories)
        place = {image: k for k, image in enumerate(dataset.image_ids)}

        def failed(path, error):
            unread.append(path)
            if on_error is not None:
                on_error(path, error)
            else:
                warnings.warn(f"evaluate: {sentence_about(path, error)}", RoikitWarning, stacklevel=5)

        def keep(place, ids, segments):
            record = {"id": dataset.image_ids[place],
                      "file_name": dataset.image_path(place).relative_to(dataset.images).as_posix()}
            kept.add(record, ids, segments)

        share = own_share(dataset.image_ids, process)
        seen, speed = panoptic.look(trained.model, dataset, pairs, share=share, device=trained.device,
                                    amp=config.run.amp, batch_size=batch_size, workers=workers, on_error=failed,
                                    on_map=None if out is None else keep)
        seen = panoptic.seen_by_all(process.gather(seen), dataset)
        speed, unread = speed_of_all(process, speed, len(share)), sum(process.gather(unread), [])
        kept.found = sorted(sum(process.gather(kept.found), []), key=lambda found: place[found[0]["id"]])
        if unread and len(unread) == len(dataset):
            raise OSError(f"evaluate: none of the {counted(len(unread), 'image')} could be read")
        if not process.first:
            return process.share_first(None)
        scores = panoptic.scores_of(seen, dataset, pairs, config.eval, limits)
        metrics = scores | {"speed": speed, "unread": len(unread)}
        if out is not None:
            write_metrics(out, metrics)
            write_detections(out, seen.results)
            if config.run.report:
                panoptic.report_segments(out, seen, dataset, scores, config, limits,
                                         **evaluation_words(trained, dataset.images))
            kept.write(out)
        return process.share_first(metrics)

    def prediction(self, trained, *, boxes=True):
        return _Found(trained.categories)


@dataclass
class _Maps:
    """Maps of segments, small as run-length codes, until they are written as a COCO panoptic file."""

    categories: list
    found: list = field(default_factory=list)

    def add(self, record, ids, segments):
        self.found.append((record, ids.shape, [(s, _mask(ids, s["id"])) for s in segments]))

    def write(self, out):
        """Write ``panoptic.json`` and the folder ``panoptic``."""
        data.write_panoptic(f"{out}/panoptic.json", map(self._opened, self.found), self.categories)

    def _opened(self, found):
        record, size, segments = found
        ids = np.zeros(size, np.int64)
        for segment, mask in segments:
            ids[rle.decode(mask) > 0] = segment["id"]
        known = ("id", "score")
        return record, ids, [{**{key: segment[key] for key in known if segment[key] is not None},
                              "category_id": self.categories[segment["category"] - 1]["id"]} for segment, _ in segments]


@dataclass(frozen=True)
class _Found:
    """Results and pictures of what a panoptic model gives."""

    categories: list
    kinds: ClassVar[dict] = {}

    def results(self, output, image_id):
        """A COCO result for each segment, with ``isthing`` and ``area``, and of a thing its ``score``."""
        ids, found = output["panoptic"].cpu().numpy(), []
        for segment in output["segments"]:
            mask = _mask(ids, segment["id"])
            result = {"image_id": image_id, "category_id": self.categories[segment["category"] - 1]["id"],
                      "isthing": int(segment["isthing"]), "area": segment["area"], "bbox": rle.toBbox(mask).tolist()}
            if segment["isthing"]:
                result["score"] = segment["score"]
            found.append({**result, "segmentation": panoptic.mask_text(mask)})
        return found

    def picture(self, image, output, results):
        ids, names = output["panoptic"].cpu().numpy(), [c["name"] for c in self.categories]
        classes = panoptic.category_map(ids, output["segments"], len(names))
        return draw_classes(image, classes, names, segments=ids)

    def write(self, folder, name, output):
        """Nothing beside the results, of which `close` makes the maps."""

    def close(self, folder, images, names):
        """Write ``panoptic.json`` and the folder ``panoptic``: of each image a map, its segments numbered as its
        results."""
        def opened():
            for record, results in images:
                ids = np.zeros((record["height"], record["width"]), np.int64)
                segments = []
                for number, result in enumerate(results, start=1):
                    ids[rle.decode(result["segmentation"]) > 0] = number
                    segments.append({"id": number, "category_id": result["category_id"],
                                     **{key: result[key] for key in ("score",) if key in result}})
                yield {"id": record["id"], "file_name": names[record["file_name"]]}, ids, segments

        data.write_panoptic(f"{folder}/panoptic.json", opened(), self.categories)


def _mask(ids, number):
    return rle.encode(np.asfortranarray(ids == number, np.uint8))


def _dataset(config, paths, part, transform, seed=0, *, told):
    """The images and segments of (annotations, images), those of ``part``, "train" or "val"; all of None.

    ``told`` is the name of `read_annotations`.
    """
    annotations, images = paths
    if is_semantic_source(annotations):
        content = semantic_content(annotations, images) if is_choosy(config, part) else None
    else:
        content = annotations = read_annotations(annotations, images, told)
    ids = chosen_ids(config, part, content) if is_choosy(config, part) else None
    return data.PanopticDataset(annotations, images, transform=transform, seed=seed, ids=ids,
                                keep_empty=part is None or getattr(config.data, part).keep_empty)


TASK = Panoptic()
