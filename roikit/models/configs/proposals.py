"""The network that proposes boxes."""

import math
from dataclasses import dataclass

from roikit.models.configs.checks import all_positive, at_least, fraction, one_of, require

__all__ = ["RpnConfig"]


@dataclass(frozen=True)
class RpnConfig:
    """Region proposal network. Sizes are pixels of the resized image.

    Args:
        anchor_sizes: for each level (of a pyramid strides 4 to 64) the square roots of the areas.
        aspect_ratios: height / width, the same on every level.
        rounded_anchors: corners of the cell anchors rounded to whole pixels, as torchvision does.
        keep_before_nms_train, keep_before_nms_test: best anchors of each level that go into NMS.
        keep_after_nms_train, keep_after_nms_test: proposals an image.
        nms_threshold: IoU above which the lower score goes; levels are treated apart.
        score_threshold: proposals below this probability are dropped.
        foreground_iou, background_iou: an anchor is positive from the first on, negative below
            the second, ignored between.
        samples_per_image, positive_fraction: what the loss is taken over.
        box_beta: where smooth L1 turns from square to linear; 0 is plain L1.
        conv_depth: 3x3 convolutions before the two predictors.
        anchor_order: "ratio" (outermost in a cell; torchvision's and mmdetection's) or "size" (detectron2's).
        nominal_strides: False divides the batch's size by the level's, as torchvision does, True takes the network's
            strides, as detectron2 and mmdetection do; they differ where a level's size was rounded up.
        min_side: a proposal with a shorter side, in pixels, is dropped.
        angles: of rotated anchors, degrees counter-clockwise; upright ones have none.
        clip_below: deltas of width and height are held above -log(1000 / 16), too, as mmdetection does.
    """

    anchor_sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounded_anchors: bool = True
    keep_before_nms_train: int = 2000
    keep_before_nms_test: int = 1000
    keep_after_nms_train: int = 2000
    keep_after_nms_test: int = 1000
    nms_threshold: float = 0.7
    score_threshold: float = 0.0
    foreground_iou: float = 0.7
    background_iou: float = 0.3
    samples_per_image: int = 256
    positive_fraction: float = 0.5
    box_beta: float = 1 / 9
    conv_depth: int = 1
    anchor_order: str = "ratio"
    nominal_strides: bool = False
    min_side: float = 1e-3
    clip_below: bool = False
    angles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        one_of("RpnConfig", "anchor_order", self.anchor_order, ("ratio", "size"))
        require(len(self.anchor_sizes) > 0 and len(self.anchor_sizes[0]) > 0 and len(self.aspect_ratios) > 0,
                f"RpnConfig: anchor_sizes and aspect_ratios must not be empty, got {self.anchor_sizes} and "
                f"{self.aspect_ratios}")
        require(len({len(sizes) for sizes in self.anchor_sizes}) == 1,
                "RpnConfig: anchor_sizes must hold equally many sizes for every level, because "
                f"the levels share one head, got {self.anchor_sizes}")
        require(all(size > 0 for sizes in self.anchor_sizes for size in sizes),
                f"RpnConfig: anchor_sizes must hold positive numbers, got {self.anchor_sizes}")
        all_positive("RpnConfig", "aspect_ratios", self.aspect_ratios)
        require(all(math.isfinite(angle) for angle in self.angles),
                f"RpnConfig: angles must hold finite numbers, got {self.angles}")
        for name in ("keep_before_nms_train", "keep_before_nms_test", "keep_after_nms_train", "keep_after_nms_test",
                     "samples_per_image", "box_beta", "conv_depth"):
            at_least("RpnConfig", name, getattr(self, name), 0)
        require(self.background_iou <= self.foreground_iou,
                f"RpnConfig: background_iou must not exceed foreground_iou, "
                f"got {self.background_iou} and {self.foreground_iou}")
        for name in ("nms_threshold", "score_threshold", "foreground_iou", "background_iou",
                     "positive_fraction"):
            fraction("RpnConfig", name, getattr(self, name))

    @property
    def anchors_per_cell(self) -> int:
        return len(self.anchor_sizes[0]) * len(self.aspect_ratios) * max(len(self.angles), 1)
