"""The network that gives the maps: a body, and the neck on top of it."""

from dataclasses import dataclass

from roikit.models.configs.checks import at_least, one_of, positive, require

__all__ = ["BackboneConfig", "LEVELS"]

# A body's maps; c2 has stride 4, each next one twice the stride of the one before.
LEVELS = ("c2", "c3", "c4", "c5")


@dataclass(frozen=True)
class BackboneConfig:
    """A body of up to four stages (strides 4, 8, 16, 32), and a feature pyramid or nothing on top of it.

    Args:
        name: "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x4d",
            "resnext101_32x8d", "resnext101_64x4d", "resnext152_32x8d", "darknet53", "vgg16", "efficientnet_lite0", or
            "timm:" and the name of a network of the timm package that gives feature maps, "timm:convnext_tiny" say.
        norm: "frozen" (batch norm with fixed statistics and affine), "batch", "sync" (batch norm over all processes; in
            a process of its own it is "batch"), "group", or "none", which "vgg16" has and no other. A network of timm
            has norms of its own kind: "batch" takes them as they are, "frozen" and "sync" replace its batch norms.
        norm_eps: added to the variance; 1e-5 for ResNets, 1e-3 for EfficientNet-Lite0,
            0.0 for torchvision's published detection weights of 2019. A network of timm has its own.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        trainable_layers: how many of the five parts (stem and four stages), counted from the last one, take part in
            training; 0 to 5. A stage that stands in the heads (`BoxConfig.head`) or is not built is counted.
        fpn_channels: width of the pyramid levels.
        fpn_norm: "none" (a bias instead), "group", "batch" or "sync".
        neck: "fpn"; "none": the one map that `levels` names, as it is; or "maps": all of them as they are, for
            segmenters.
        levels: the body's maps that go into the neck, finest first, adjacent ones of "c2" to "c5". Stages after the
            last of them are not built. Of a VGG-16 c4 is conv5_3, which has stride 16, and c5 the pooling after it
            (`roikit.models.bodies.vgg`).
        stride_in_1x1: a bottleneck's stride stands on its first 1x1 convolution, as in the networks of 2015 that
            detectron2 and mmdetection's "caffe" style start from, not on its 3x3 one.
        dilated_c5: the last stage keeps stride 16 and is dilated by 2 (DC5).
        deform_stages: the maps whose stages have deformable 3x3 convolutions, of "c3", "c4", "c5", none of them after
            the last of `levels`.
        deform_version: 1, or 2 with a weight for each sample (modulated).
        deform_groups: groups of channels with offsets of their own; they divide the channels of the 3x3 convolutions.
        output_stride: 8, 16 or 32: no map has a stride above it, stages that would have one are dilated instead, as
            with torchvision's `replace_stride_with_dilation` (a ResNet or ResNeXt without a pyramid).
        deform_interval: of a deformable stage every so many-th block is deformable, the first one among them.
        fpn_extra: the levels beyond the body's: "pool", one that takes every second cell of the last, or "conv", two by
            3x3 convolutions of stride 2 (P6 and P7).
        fpn_upsample: how a coarser level is brought to the size of a finer one: "nearest" or "bilinear".
        fpn_relu: ReLU after the 3x3 convolution of each of the body's levels.

    `stride_in_1x1`, `dilated_c5` and `deform_stages` need a body of bottlenecks: a ResNet of 50 layers or more, or a
    ResNeXt; `build_backbone` says so.
    """

    name: str = "resnet50"
    norm: str = "batch"
    norm_eps: float = 1e-5
    norm_groups: int = 32
    trainable_layers: int = 5
    fpn_channels: int = 256
    fpn_norm: str = "none"
    neck: str = "fpn"
    levels: tuple[str, ...] = LEVELS
    stride_in_1x1: bool = False
    dilated_c5: bool = False
    deform_stages: tuple[str, ...] = ()
    deform_version: int = 1
    deform_groups: int = 1
    output_stride: int = 32
    deform_interval: int = 1
    fpn_extra: str = "pool"
    fpn_upsample: str = "nearest"
    fpn_relu: bool = False

    def __post_init__(self) -> None:
        one_of("BackboneConfig", "norm", self.norm, ("frozen", "batch", "sync", "group", "none"))
        one_of("BackboneConfig", "fpn_norm", self.fpn_norm, ("none", "group", "batch", "sync"))
        one_of("BackboneConfig", "neck", self.neck, ("fpn", "none", "maps"))
        one_of("BackboneConfig", "deform_version", self.deform_version, (1, 2))
        one_of("BackboneConfig", "output_stride", self.output_stride, (8, 16, 32))
        one_of("BackboneConfig", "fpn_extra", self.fpn_extra, ("pool", "conv"))
        one_of("BackboneConfig", "fpn_upsample", self.fpn_upsample, ("nearest", "bilinear"))
        for name in ("fpn_channels", "norm_groups", "deform_groups", "deform_interval"):
            positive("BackboneConfig", name, getattr(self, name))
        at_least("BackboneConfig", "norm_eps", self.norm_eps, 0)
        require(0 <= self.trainable_layers <= 5,
                f"BackboneConfig: trainable_layers must be between 0 and 5, got {self.trainable_layers}")
        runs = [LEVELS[a:b] for a in range(4) for b in range(a + 1, 5)]
        require(self.levels in runs,
                f"BackboneConfig: levels must be adjacent ones of {', '.join(LEVELS)}, got {self.levels}")
        require(self.neck != "none" or len(self.levels) == 1,
                f"BackboneConfig: with neck 'none' levels must hold one map, got {self.levels}")
        require(set(self.deform_stages) <= set(LEVELS[1:]),
                f"BackboneConfig: deform_stages must be of c3, c4, c5, got {self.deform_stages}")
        require(all(LEVELS.index(stage) <= LEVELS.index(self.levels[-1]) for stage in self.deform_stages),
                f"BackboneConfig: deform_stages must be of stages that are built, and levels {self.levels} ask for "
                f"none after {self.levels[-1]}, got {self.deform_stages}")
        require(not self.dilated_c5 or self.levels[-1] == "c5",
                f"BackboneConfig: dilated_c5 needs levels that end with c5, got {self.levels}")
        require(not self.dilated_c5 or self.neck != "fpn",
                "BackboneConfig: dilated_c5 needs neck 'none', because a pyramid's levels have each half the size of "
                "the one before")
        require(self.output_stride == 32 or self.neck != "fpn" and not self.dilated_c5,
                f"BackboneConfig: output_stride {self.output_stride} excludes dilated_c5, and a pyramid, whose levels "
                "have each half the size of the one before")

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps that boxes are pooled from: those of `levels`."""
        strides = [min(4 << LEVELS.index(level), self.output_stride) for level in self.levels]
        if self.dilated_c5:
            strides[-1] = 16
        return tuple(strides)

    @property
    def proposal_strides(self) -> tuple[int, ...]:
        """Of the maps that boxes are proposed on: with a pyramid there is one more, or with `fpn_extra` "conv" two."""
        more = 0 if self.neck == "none" else 2 if self.fpn_extra == "conv" else 1
        return (*self.strides, *(self.strides[-1] << k for k in range(1, more + 1)))
