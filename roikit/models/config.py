"""What a detector is made of, as plain frozen data; `roikit.models.build` turns it into modules.

Every field is a number, a string, a tuple of those or another of these classes, so that
`dataclasses.asdict` of a config can be stored in a checkpoint or written as YAML.
"""

from dataclasses import dataclass, field

__all__ = ["BackboneConfig", "BoxConfig", "DetectorConfig", "ImageConfig", "MaskConfig",
           "RpnConfig"]


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)


def _one_of(owner: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed,
             f"{owner}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def _fraction(owner: str, name: str, value: float) -> None:
    _require(0.0 <= value <= 1.0, f"{owner}: {name} must be between 0 and 1, got {value}")


@dataclass(frozen=True)
class ImageConfig:
    """From images in [0, 1] to one normalised batch.

    Args:
        mean, std: one number a channel, in the image's own range [0, 1].
        min_size: the shorter side after resizing, in pixels; when training one of several is
            drawn for every image, otherwise the last one counts.
        max_size: the longer side after resizing is at most this many pixels.
        size_divisible: the batch is padded with zeros at the right and the bottom to a multiple.
        resize_in_training: False takes training images and targets as they come, for a data
            pipeline that has resized them already.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    min_size: tuple[int, ...] = (800,)
    max_size: int = 1333
    size_divisible: int = 32
    resize_in_training: bool = True

    def __post_init__(self) -> None:
        _require(len(self.mean) == len(self.std) > 0,
                 f"ImageConfig: mean and std must have one number a channel, "
                 f"got {self.mean} and {self.std}")
        _require(all(s > 0 for s in self.std), f"ImageConfig: std must be positive, got {self.std}")
        _require(len(self.min_size) > 0 and all(s > 0 for s in self.min_size),
                 f"ImageConfig: min_size must hold positive sizes, got {self.min_size}")
        _require(self.max_size > 0, f"ImageConfig: max_size must be positive, got {self.max_size}")
        _require(self.size_divisible > 0,
                 f"ImageConfig: size_divisible must be positive, got {self.size_divisible}")


@dataclass(frozen=True)
class BackboneConfig:
    """A network of four stages (strides 4, 8, 16, 32) and the feature pyramid on top of it.

    Args:
        name: "resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d",
            "resnext101_32x8d", "resnext101_64x4d" or "efficientnet_lite0".
        norm: "frozen" (batch norm with fixed statistics and affine), "batch" or "group".
        norm_eps: added to the variance; 1e-5 for ResNets, 1e-3 for EfficientNet-Lite0,
            0.0 for torchvision's published detection weights of 2019.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        trainable_layers: how many of the five parts (stem and four stages), counted from the last
            one, take part in training; 0 to 5.
        fpn_channels: width of the five pyramid levels.
        fpn_norm: "none" (a bias instead) or "group".
    """

    name: str = "resnet50"
    norm: str = "batch"
    norm_eps: float = 1e-5
    norm_groups: int = 32
    trainable_layers: int = 5
    fpn_channels: int = 256
    fpn_norm: str = "none"

    def __post_init__(self) -> None:
        _one_of("BackboneConfig", "norm", self.norm, ("frozen", "batch", "group"))
        _one_of("BackboneConfig", "fpn_norm", self.fpn_norm, ("none", "group"))
        _require(0 <= self.trainable_layers <= 5,
                 f"BackboneConfig: trainable_layers must be between 0 and 5, "
                 f"got {self.trainable_layers}")


@dataclass(frozen=True)
class RpnConfig:
    """Region proposal network. Sizes are pixels of the resized image.

    Args:
        anchor_sizes: for each pyramid level (strides 4 to 64) the square roots of the areas.
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

    def __post_init__(self) -> None:
        _require(len(self.anchor_sizes) == 5,
                 f"RpnConfig: anchor_sizes must have one entry for each of the 5 pyramid levels, "
                 f"got {len(self.anchor_sizes)}")
        _require(len({len(sizes) for sizes in self.anchor_sizes}) == 1,
                 "RpnConfig: anchor_sizes must hold equally many sizes for every level, because "
                 f"the levels share one head, got {self.anchor_sizes}")
        _require(self.background_iou <= self.foreground_iou,
                 f"RpnConfig: background_iou must not exceed foreground_iou, "
                 f"got {self.background_iou} and {self.foreground_iou}")
        for name in ("nms_threshold", "score_threshold", "foreground_iou", "background_iou",
                     "positive_fraction"):
            _fraction("RpnConfig", name, getattr(self, name))

    @property
    def anchors_per_cell(self) -> int:
        return len(self.anchor_sizes[0]) * len(self.aspect_ratios)


@dataclass(frozen=True)
class BoxConfig:
    """Classification and box regression of the proposals.

    Args:
        pool_size: RoIAlign gives pool_size x pool_size cells.
        sampling_ratio, aligned: RoIAlign's; torchvision's models use 2 and False.
        representation: width of the two fully connected layers.
        regression_weights: factors of dx, dy, dw, dh in the regression targets.
        score_threshold: detections need a probability above this.
        nms_threshold: IoU above which the lower score of the same class goes.
        detections_per_image: the best so many are returned.
        foreground_iou, background_iou, samples_per_image, positive_fraction: as in `RpnConfig`.
        box_beta: where smooth L1 turns from square to linear; 0 is plain L1.
    """

    pool_size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    representation: int = 1024
    regression_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    foreground_iou: float = 0.5
    background_iou: float = 0.5
    samples_per_image: int = 512
    positive_fraction: float = 0.25
    box_beta: float = 1 / 9

    def __post_init__(self) -> None:
        _require(self.background_iou <= self.foreground_iou,
                 f"BoxConfig: background_iou must not exceed foreground_iou, "
                 f"got {self.background_iou} and {self.foreground_iou}")
        for name in ("nms_threshold", "foreground_iou", "background_iou", "positive_fraction"):
            _fraction("BoxConfig", name, getattr(self, name))


@dataclass(frozen=True)
class MaskConfig:
    """The mask branch: some 3x3 convolutions, a deconvolution, one map a class.

    Args:
        pool_size: RoIAlign gives pool_size x pool_size cells; masks have twice as many.
        sampling_ratio, aligned: RoIAlign's; torchvision's models use 2 and False.
        layers: widths of the 3x3 convolutions.
        deconv_channels: width after the deconvolution.
        norm: "none" (a bias instead) or "group", after each 3x3 convolution.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        target_rule: "soft" (torchvision's averages) or "binary" (detectron2's, 0 or 1).
        paste_rule: "integer" (torchvision's) or "continuous" (detectron2's).
        threshold: a pixel belongs to the object from this probability on ("bool", "rle").
        mask_format: "soft" float (N, 1, H, W), "bool" (N, 1, H, W), or "rle", a list of N COCO
            RLE dicts.
    """

    pool_size: int = 14
    sampling_ratio: int = 2
    aligned: bool = False
    layers: tuple[int, ...] = (256, 256, 256, 256)
    deconv_channels: int = 256
    norm: str = "none"
    norm_groups: int = 32
    target_rule: str = "soft"
    paste_rule: str = "integer"
    threshold: float = 0.5
    mask_format: str = "soft"

    def __post_init__(self) -> None:
        _one_of("MaskConfig", "norm", self.norm, ("none", "group"))
        _one_of("MaskConfig", "target_rule", self.target_rule, ("soft", "binary"))
        _one_of("MaskConfig", "paste_rule", self.paste_rule, ("integer", "continuous"))
        _one_of("MaskConfig", "mask_format", self.mask_format, ("soft", "bool", "rle"))


@dataclass(frozen=True)
class DetectorConfig:
    """A two-stage detector; `mask=None` makes it a Faster R-CNN.

    Args:
        num_classes: classes including the background, which is 0.
    """

    num_classes: int = 91
    image: ImageConfig = field(default_factory=ImageConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    rpn: RpnConfig = field(default_factory=RpnConfig)
    box: BoxConfig = field(default_factory=BoxConfig)
    mask: MaskConfig | None = field(default_factory=MaskConfig)

    def __post_init__(self) -> None:
        _require(self.num_classes >= 2,
                 "DetectorConfig: num_classes must be at least 2 (the background counts), "
                 f"got {self.num_classes}")
