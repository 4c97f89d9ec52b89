"""Things and stuff in one map."""

from dataclasses import dataclass, field

from roikit.models.configs.checks import at_least, fraction, positive
from roikit.models.configs.segmenter import SemanticFPNConfig

__all__ = ["PanopticConfig"]


@dataclass(frozen=True)
class PanopticConfig:
    """The semantic head beside a Mask R-CNN, and how the results of both become one map (Panoptic FPN).

    Args:
        num_stuff_classes: how many there are. The head tells one class more apart, 0: "a thing".
        head: its layers.
        loss_weight: factor of the semantic loss; 0.5 is that of detectron2's configurations.
        instance_loss_weight: factor of the losses of boxes, classes and masks, but not of the proposals' losses.
        score_threshold: detections below are left out of the map.
        overlap_threshold: a detection of which a greater part lies on better ones is left out.
        stuff_area: a stuff class with fewer pixels in what things leave free is left out; 4096 is for COCO's images.
        ignored_label: pixels of this label have no semantic loss.

    The numbers and their order are detectron2's.
    """

    num_stuff_classes: int = 53
    head: SemanticFPNConfig = field(default_factory=SemanticFPNConfig)
    loss_weight: float = 0.5
    instance_loss_weight: float = 1.0
    score_threshold: float = 0.5
    overlap_threshold: float = 0.5
    stuff_area: int = 4096
    ignored_label: int = 255

    def __post_init__(self) -> None:
        positive("PanopticConfig", "num_stuff_classes", self.num_stuff_classes)
        at_least("PanopticConfig", "ignored_label", self.ignored_label, self.num_stuff_classes + 1)
        for name in ("loss_weight", "instance_loss_weight"):
            positive("PanopticConfig", name, getattr(self, name))
        for name in ("score_threshold", "overlap_threshold"):
            fraction("PanopticConfig", name, getattr(self, name))
        at_least("PanopticConfig", "stuff_area", self.stuff_area, 0)
