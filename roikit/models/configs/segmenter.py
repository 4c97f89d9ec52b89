"""A network that gives a class for each pixel."""

from dataclasses import dataclass, field
from typing import Literal

from roikit.models.configs.body import BackboneConfig
from roikit.models.configs.checks import all_positive, at_least, fraction, one_of, positive, require
from roikit.models.configs.image import ImageConfig

__all__ = ["AuxiliaryConfig", "FCNHeadConfig", "PyramidPoolingConfig", "SegmenterConfig", "SemanticFPNConfig",
           "SkipsConfig", "WindowConfig"]

_NORMS = ("batch", "frozen", "sync", "group")


@dataclass(frozen=True)
class FCNHeadConfig:
    """A 3x3 convolution and a 1x1 one on the last map, as torchvision's FCN has them.

    Args:
        channels: width between the two; None for a quarter of the map's.
        norm: after the first convolution.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        dropout: part of the values left out before the last convolution.
    """

    channels: int | None = None
    norm: str = "batch"
    norm_groups: int = 32
    dropout: float = 0.1
    kind: Literal["fcn"] = "fcn"

    def __post_init__(self) -> None:
        positive("FCNHeadConfig", "channels", 1 if self.channels is None else self.channels)
        positive("FCNHeadConfig", "norm_groups", self.norm_groups)
        one_of("FCNHeadConfig", "norm", self.norm, _NORMS)
        fraction("FCNHeadConfig", "dropout", self.dropout)


@dataclass(frozen=True)
class PyramidPoolingConfig:
    """The last map beside its means over a few grids, and two convolutions (PSPNet).

    Args:
        bins: cells on a side of each grid; the bins of a grid have together as many channels as the map.
        channels: width between the 3x3 and the 1x1 convolution.
        norm, norm_groups, dropout: as in `FCNHeadConfig`. In training, batch norm of a grid of one cell needs two
            images or more.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    channels: int = 512
    norm: str = "batch"
    norm_groups: int = 32
    dropout: float = 0.1
    kind: Literal["pooling"] = "pooling"

    def __post_init__(self) -> None:
        require(len(self.bins) > 0, "PyramidPoolingConfig: bins must not be empty")
        all_positive("PyramidPoolingConfig", "bins", self.bins)
        for name in ("channels", "norm_groups"):
            positive("PyramidPoolingConfig", name, getattr(self, name))
        one_of("PyramidPoolingConfig", "norm", self.norm, _NORMS)
        fraction("PyramidPoolingConfig", "dropout", self.dropout)


@dataclass(frozen=True)
class SkipsConfig:
    """VGG-16's fully connected layers as convolutions, and scores of finer maps added on the way up (FCN of 2015).

    Args:
        stride: 32 adds nothing, 16 the scores of pool4, 8 those of pool3 as well.
        channels: of the two layers that were fully connected.
        dropout: after each of them.
        border: zeros around the images. 99 is the authors': their first convolution is padded by 100, and the 7x7 one
            of fc6 is not, so that their weights give their results. 0 pads fc6 by 3 instead and computes less.
    """

    stride: int = 8
    channels: int = 4096
    dropout: float = 0.5
    border: int = 99
    kind: Literal["skips"] = "skips"

    def __post_init__(self) -> None:
        one_of("SkipsConfig", "stride", self.stride, (8, 16, 32))
        one_of("SkipsConfig", "border", self.border, (0, 99))
        positive("SkipsConfig", "channels", self.channels)
        fraction("SkipsConfig", "dropout", self.dropout)


@dataclass(frozen=True)
class SemanticFPNConfig:
    """All levels of a pyramid brought to the finest one's stride, and a 1x1 convolution (Semantic FPN).

    Args:
        channels: width of each level's convolutions.
        fusion: "sum" of the levels, the paper's, or "concat".
        norm, norm_groups: of each convolution; "none" for a bias.
        dropout: before the last convolution.
    """

    channels: int = 128
    fusion: str = "sum"
    norm: str = "group"
    norm_groups: int = 32
    dropout: float = 0.0
    kind: Literal["semantic_fpn"] = "semantic_fpn"

    def __post_init__(self) -> None:
        for name in ("channels", "norm_groups"):
            positive("SemanticFPNConfig", name, getattr(self, name))
        one_of("SemanticFPNConfig", "fusion", self.fusion, ("sum", "concat"))
        one_of("SemanticFPNConfig", "norm", self.norm, ("none", *_NORMS))
        fraction("SemanticFPNConfig", "dropout", self.dropout)


@dataclass(frozen=True)
class AuxiliaryConfig:
    """A second head, an `FCNHeadConfig`'s, on the map before the last; for training alone.

    Args:
        loss_weight: factor of its loss: 0.5 is torchvision's, 0.4 PSPNet's.
        head: its layers.
    """

    loss_weight: float = 0.5
    head: FCNHeadConfig = field(default_factory=FCNHeadConfig)

    def __post_init__(self) -> None:
        positive("AuxiliaryConfig", "loss_weight", self.loss_weight)


@dataclass(frozen=True)
class WindowConfig:
    """Images larger than a window are looked at window by window; where windows overlap, logits are averaged.

    Args:
        size: (height, width) in pixels of the resized image.
        overlap: the least part of a window that the next one covers again.
    """

    size: tuple[int, int] = (512, 512)
    overlap: float = 1 / 3

    def __post_init__(self) -> None:
        all_positive("WindowConfig", "size", self.size)
        require(0 <= self.overlap < 1, f"WindowConfig: overlap must be at least 0 and below 1, got {self.overlap}")


def _image() -> ImageConfig:
    return ImageConfig(min_size=(520,), max_size=2080, size_divisible=1)


def _backbone() -> BackboneConfig:
    return BackboneConfig(neck="maps", levels=("c4", "c5"), output_stride=8)


@dataclass(frozen=True)
class SegmenterConfig:
    """A segmenter.

    Args:
        num_classes: values 0 to C - 1 of label maps; whether 0 is a background is the data's affair.
        image: how images are resized; the result has the size of the image as it was given in any case. Nothing is
            padded by default (`size_divisible` 1), so that what is found does not depend on a border of zeros.
        head: from maps to logits; the class of the configuration says which, and its `kind` in YAML.
        auxiliary: a second head for training, or None.
        window: sliding windows in evaluation, or None for whole images.
        ignored_label: pixels of this label have no loss.

    A combination that cannot work is a ValueError that names the fields.
    """

    num_classes: int = 21
    image: ImageConfig = field(default_factory=_image)
    backbone: BackboneConfig = field(default_factory=_backbone)
    head: FCNHeadConfig | PyramidPoolingConfig | SkipsConfig | SemanticFPNConfig = field(default_factory=FCNHeadConfig)
    auxiliary: AuxiliaryConfig | None = None
    window: WindowConfig | None = None
    ignored_label: int = 255
    kind: Literal["segmenter"] = "segmenter"

    def __post_init__(self) -> None:
        require(2 <= self.num_classes <= 255,
                f"SegmenterConfig: num_classes must be between 2 and 255, got {self.num_classes}")
        at_least("SegmenterConfig", "ignored_label", self.ignored_label, self.num_classes)
        neck, levels = self.backbone.neck, self.backbone.levels
        if isinstance(self.head, SemanticFPNConfig):
            require(neck == "fpn", f"SegmenterConfig: head 'semantic_fpn' takes the levels of a pyramid: backbone.neck "
                                   f"must be 'fpn', got {neck!r}")
        else:
            require(neck != "fpn", f"SegmenterConfig: head {self.head.kind!r} takes the maps of a body: backbone.neck "
                                   f"must be 'maps', got {neck!r}")
        if isinstance(self.head, SkipsConfig):
            require(self.backbone.name == "vgg16" and len(levels) == 4,
                    "SegmenterConfig: head 'skips' takes all four maps of a VGG-16: backbone.name must be 'vgg16' and "
                    f"backbone.levels all four, got {self.backbone.name!r} and {levels}")
        require(self.auxiliary is None or neck == "maps" and len(levels) > 1 and not isinstance(self.head, SkipsConfig),
                "SegmenterConfig: auxiliary looks at the map before the last: backbone.neck must be 'maps' with two "
                f"levels or more, and head not 'skips', got {neck!r}, {levels} and head {self.head.kind!r}")
