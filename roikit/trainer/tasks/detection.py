"""Finding objects: boxes, masks, keypoints."""

from dataclasses import dataclass, replace
from typing import ClassVar

from roikit import data, models
from roikit.data.fit_findings import ModelFit
from roikit.data.keypoints import skeletons_of
from roikit.trainer import trained as files
from roikit.trainer import validation
from roikit.trainer.asked import asks_for_keypoints, asks_for_semantic, fitted_model, semantic_classes
from roikit.trainer.draw import draw_objects
from roikit.trainer.evaluation import coco_results, evaluate_detector

__all__ = ["TASK", "Detection"]


class Detection:
    """The task of a ``DetectorConfig``."""

    finds_objects = True

    def build(self, model):
        return models.build_detector(model)

    def network(self, model):
        return model.backbone.body, getattr(model, "roi_heads", None)  # a dense detector has none

    def require_paths(self, config):
        files.train_paths(config)

    def train_set(self, config):
        return files.train_set(config)

    def reports(self, config):
        for name, paths in files.inspected_parts(config):
            semantic = config.data.train.semantic if name == "train" and asks_for_semantic(config.model) else None
            yield name, data.inspect_dataset(*paths, keypoints=asks_for_keypoints(config.model), semantic=semantic,
                                             semantic_classes=semantic_classes(config.model),
                                             beside=files.train_paths(config) if name == "val" else None,
                                             fit=_fit(self.adjusted(config, at_least=config.eval.max_detections[-1])))

    def fitted(self, config, dataset):
        if not dataset.num_objects:
            raise ValueError(f"train: none of the {len(dataset)} training images has an object to learn; "
                             "`roikit doctor` names the reasons")
        config = replace(config, model=fitted_model(config.model, dataset))
        return self.adjusted(config, at_least=config.eval.max_detections[-1])

    def prepare_validation(self, config, categories, process):
        return validation.prepare_validation(config, categories, process)

    def adjusted(self, config, *, detections=None, at_least=0, score_threshold=None):
        box = config.model.box
        box = replace(box, detections_per_image=max(box.detections_per_image if detections is None else detections,
                                                    at_least))
        if score_threshold is not None:
            box = replace(box, score_threshold=score_threshold)
        return replace(config, model=replace(config.model, box=box))

    def num_classes(self, categories):
        return len(categories) + 1

    def evaluate(self, trained, annotations, images, **options):
        return evaluate_detector(trained, annotations, images, **options)

    def prediction(self, trained, *, boxes=True):
        return _Found(trained.categories, boxes)


def _fit(config):
    """What of a configured model decides which objects it can find."""
    model = config.model
    sizes = model.rpn.anchor_sizes if model.dense is None else model.dense.prior_sizes
    resized = (model.image.min_size[-1], model.image.max_size) if model.image.resize else (None, None)
    return ModelFit(min(min(level) for level in sizes), model.box.detections_per_image, *resized)


@dataclass(frozen=True)
class _Found:
    """COCO results and pictures of what a detector gives."""

    categories: list
    boxes: bool
    kinds: ClassVar[dict] = {}

    def results(self, output, image_id):
        return coco_results(output, image_id, [c["id"] for c in self.categories])

    def picture(self, image, output, results):
        names = {c["id"]: c["name"] for c in self.categories}
        return draw_objects(image, results, names, boxes=self.boxes, skeletons=skeletons_of(self.categories))

    def write(self, folder, name, output):
        """Nothing beside the results."""

    def close(self, folder, images, names):
        """Nothing, for the results are written by the one who asks for them."""


TASK = Detection()
