"""A detector of rotated boxes, from the configuration of one of upright boxes."""

from collections.abc import Sequence
from dataclasses import replace

from roikit.models.configs.detector import DetectorConfig

__all__ = ["rotated_config"]


def rotated_config(config: DetectorConfig, angles: Sequence[float] = (-90.0, -60.0, -30.0)) -> DetectorConfig:
    """The same detector with rotated boxes, and masks in their frame.

    Args:
        config: of a detector of upright boxes without keypoints and mask scores, that is no hybrid and selects by NMS.
        angles: of the anchors, degrees counter-clockwise; by default those of Rotated Mask R-CNN (2019), which suit
            boxes in [-90, 0), as `roikit.ops.min_area_boxes` gives them.

    Raises:
        ValueError: a part that only upright boxes have.

    The turn of a box has the weight 1 in the regression targets of every stage.
    """
    turned, cascade = (*config.box.regression_weights, 1.0), config.cascade
    box = replace(config.box, regression_weights=turned, aligned=True)
    rpn = replace(config.rpn, angles=tuple(map(float, angles)), rounded_anchors=False, anchor_order="size")
    mask = None if config.mask is None else replace(config.mask, aligned=True, paste_rule="continuous")
    if cascade is not None:
        cascade = replace(cascade, stages=tuple(
            replace(stage, regression_weights=(*stage.regression_weights, 1.0)) for stage in cascade.stages))
    return replace(config, boxes="rotated", box=box, rpn=rpn, mask=mask, cascade=cascade)
