"""Boxes and masks straight from the maps of a pyramid, without proposals."""

from dataclasses import dataclass

from roikit.models.configs.checks import all_positive, at_least, one_of, positive, require

__all__ = ["DenseConfig", "RescoringConfig"]


@dataclass(frozen=True)
class RescoringConfig:
    """The network that predicts the IoU of an assembled mask with the object (Bolya et al. 2019, arXiv:1912.06218).

    Args:
        layers: widths of the 3x3 convolutions, each of stride 2 and without padding.
        loss_weight: factor of the loss, smooth L1.
        min_area: objects of at most so many cells of the prototypes are not learnt from.
    """

    layers: tuple[int, ...] = (8, 16, 32, 64, 128)
    loss_weight: float = 25.0
    min_area: float = 25.0

    def __post_init__(self) -> None:
        require(len(self.layers) > 0, "RescoringConfig: layers must not be empty")
        all_positive("RescoringConfig", "layers", self.layers)
        for name in ("loss_weight", "min_area"):
            at_least("RescoringConfig", name, getattr(self, name), 0)


@dataclass(frozen=True)
class DenseConfig:
    """A head that predicts at every cell, and prototypes of which it combines masks (Bolya et al. 2019).

    Of the detector's other fields these hold for it: of `box` the regression weights, thresholds, counts, overlaps of
    matching, `box_beta`, `min_side`, `clip_below` and `selection`; of `mask` the threshold, above which a pixel belongs
    to the object, and the format. Those of `rpn`, and what `box` and `mask` say of pooling and layers, do not.

    Args:
        prior_sizes: for each level the sizes of its priors, in pixels of the resized image.
        prior_ratios: height / width of the priors, in each size.
        square_priors: a prior of ratio r is a square of side size / sqrt(r), in place of a rectangle of width
            size / sqrt(r) and height size * sqrt(r). The authors published it so in 2019, by mistake; their networks
            of YOLACT++ have rectangles.
        head_layers: 3x3 convolutions, as wide as the pyramid, before the three predictors.
        prototypes: how many there are, and coefficients for each prior.
        proto_layers: widths of the 3x3 convolutions on the finest level, before it is doubled.
        proto_fine_layers: widths of those after.
        norm: "none" (a bias instead), "group", "batch" or "sync", after each 3x3 convolution of head and prototypes.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        threshold_on: what has to pass `box.score_threshold` where `box.selection.kind` is "fast_nms": "prior", the best
            score of a prior, which then takes part in all classes, as the authors have it, or "score", each score.
        negatives: the hardest so many priors without an object are learnt from for each with one (OHEM).
        masks_per_image: masks are learnt from at most so many positives of an image, drawn at random.
        box_weight, class_weight, mask_weight: factors of the losses.
        semantic_weight: factor of the loss of a class for each cell of the finest level, which only training asks for;
            0 leaves its layer out.
        rescoring: predicts how good a mask is, or None.
    """

    prior_sizes: tuple[tuple[float, ...], ...] = ((24.0,), (48.0,), (96.0,), (192.0,), (384.0,))
    prior_ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    square_priors: bool = True
    head_layers: int = 1
    prototypes: int = 32
    proto_layers: tuple[int, ...] = (256, 256, 256)
    proto_fine_layers: tuple[int, ...] = (256,)
    norm: str = "none"
    norm_groups: int = 32
    threshold_on: str = "prior"
    negatives: float = 3.0
    masks_per_image: int = 100
    box_weight: float = 1.5
    class_weight: float = 1.0
    mask_weight: float = 6.125
    semantic_weight: float = 1.0
    rescoring: RescoringConfig | None = None

    def __post_init__(self) -> None:
        require(len(self.prior_sizes) > 0 and len(self.prior_sizes[0]) > 0 and len(self.prior_ratios) > 0,
                f"DenseConfig: prior_sizes and prior_ratios must not be empty, got {self.prior_sizes} and "
                f"{self.prior_ratios}")
        require(len({len(sizes) for sizes in self.prior_sizes}) == 1,
                "DenseConfig: prior_sizes must hold equally many sizes for every level, because the levels share one "
                f"head, got {self.prior_sizes}")
        for sizes in self.prior_sizes:
            all_positive("DenseConfig", "prior_sizes", sizes)
        for name in ("prior_ratios", "proto_layers", "proto_fine_layers"):
            all_positive("DenseConfig", name, getattr(self, name))
        for name in ("prototypes", "norm_groups"):
            positive("DenseConfig", name, getattr(self, name))
        one_of("DenseConfig", "norm", self.norm, ("none", "group", "batch", "sync"))
        one_of("DenseConfig", "threshold_on", self.threshold_on, ("prior", "score"))
        for name in ("head_layers", "negatives", "box_weight", "class_weight", "mask_weight", "semantic_weight"):
            at_least("DenseConfig", name, getattr(self, name), 0)
        at_least("DenseConfig", "masks_per_image", self.masks_per_image, 1)

    @property
    def priors_per_cell(self) -> int:
        return len(self.prior_sizes[0]) * len(self.prior_ratios)
