"""What is asked of a proposed box: class and place, mask, keypoints, the mask's quality."""

from dataclasses import dataclass, field

from roikit.models.configs.checks import all_positive, at_least, fraction, one_of, positive, require, weights

__all__ = ["BoxConfig", "KeypointConfig", "MaskConfig", "MaskScoreConfig", "SelectionConfig"]

_POOLS = ("roi_align", "roi_pool", "roi_warp")


def _pooler(owner: str, kind: str, reduce: str, size: int) -> None:
    one_of(owner, "pool_kind", kind, _POOLS)
    one_of(owner, "pool_reduce", reduce, ("mean", "max"))
    require(kind != "roi_pool" or reduce == "max", f"{owner}: pool_kind 'roi_pool' takes the maximum of its cells: "
            f"pool_reduce must be 'max', got {reduce!r}")
    positive(owner, "pool_size", size)


def _norms(owner: str, norm: str, groups: int, layers: tuple[int, ...], size: int) -> None:
    one_of(owner, "norm", norm, ("none", "group", "batch", "sync"))
    positive(owner, "norm_groups", groups)
    require(norm == "none" or not layers or size > 1,
            f"{owner}: norm {norm!r} needs more than one cell to take statistics of: pool_size must be at least 2, got "
            f"{size}")


@dataclass(frozen=True)
class SelectionConfig:
    """From scored boxes to detections; every kind looks at the boxes of one class.

    Args:
        kind: "nms"; "soft_nms" (Bodla et al. 2017); "fast_nms" (Bolya et al. 2019); "matrix_nms" (Wang et al. 2020).
            The first three suppress at an IoU above the box head's `nms_threshold`.
        method: of Soft-NMS and Matrix NMS: "linear" or "gaussian".
        sigma: of the Gaussian.
        min_score: Soft-NMS and Matrix NMS drop what has decayed below it.
        top_k: Fast NMS looks at the best so many of a class.
        cross_class: Fast NMS treats all classes as one.
    """

    kind: str = "nms"
    method: str = "linear"
    sigma: float = 0.5
    min_score: float = 1e-3
    top_k: int = 200
    cross_class: bool = False

    def __post_init__(self) -> None:
        one_of("SelectionConfig", "kind", self.kind, ("nms", "soft_nms", "fast_nms", "matrix_nms"))
        one_of("SelectionConfig", "method", self.method, ("linear", "gaussian"))
        positive("SelectionConfig", "sigma", self.sigma)
        positive("SelectionConfig", "top_k", self.top_k)
        fraction("SelectionConfig", "min_score", self.min_score)


@dataclass(frozen=True)
class BoxConfig:
    """Classification and box regression of the proposals.

    Args:
        pool_size: pooling gives pool_size x pool_size cells.
        sampling_ratio, aligned: RoIAlign's; torchvision's models use 2 and False, detectron2's 0 (adaptive) and True.
        representation: width of the fully connected layers.
        regression_weights: factors of dx, dy, dw, dh in the regression targets, and of the turn of a rotated box.
        score_threshold: detections need a probability above this.
        nms_threshold: IoU above which the lower score of the same class goes.
        detections_per_image: the best so many are returned.
        foreground_iou, background_iou, samples_per_image, positive_fraction: as in `RpnConfig`.
        box_beta: where smooth L1 turns from square to linear; 0 is plain L1.
        pool_kind: "roi_align", "roi_pool" (Girshick 2015) or "roi_warp" (Dai et al. 2016).
        pool_reduce: what a cell takes of its samples: "mean" or "max".
        head: "layers" (`conv_layers`, then `fc_layers`), or "res5": the body's last stage on every pooled box, and
            the mean of its cells (the C4 systems; a mask branch takes the stage's maps as well).
        conv_layers: widths of 3x3 convolutions before the fully connected layers.
        fc_layers: how many fully connected layers there are.
        norm: "none" (a bias instead), "group", "batch" or "sync", after each 3x3 convolution.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        class_agnostic: four deltas a box, not four for every class.
        min_side: a detection with a shorter side, in pixels, is dropped.
        clip_below: as in `RpnConfig`.
        sampler: "balanced" draws at random, "hardest" keeps the proposals of the largest loss (OHEM, Shrivastava et
            al. 2016).
        selection: how scored boxes become detections.
    """

    pool_size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    representation: int = 1024
    regression_weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    foreground_iou: float = 0.5
    background_iou: float = 0.5
    samples_per_image: int = 512
    positive_fraction: float = 0.25
    box_beta: float = 1 / 9
    pool_kind: str = "roi_align"
    pool_reduce: str = "mean"
    head: str = "layers"
    conv_layers: tuple[int, ...] = ()
    fc_layers: int = 2
    norm: str = "none"
    norm_groups: int = 32
    class_agnostic: bool = False
    min_side: float = 1e-2
    clip_below: bool = False
    sampler: str = "balanced"
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self) -> None:
        require(self.background_iou <= self.foreground_iou,
                f"BoxConfig: background_iou must not exceed foreground_iou, "
                f"got {self.background_iou} and {self.foreground_iou}")
        for name in ("nms_threshold", "foreground_iou", "background_iou", "positive_fraction"):
            fraction("BoxConfig", name, getattr(self, name))
        _pooler("BoxConfig", self.pool_kind, self.pool_reduce, self.pool_size)
        one_of("BoxConfig", "head", self.head, ("layers", "res5"))
        _norms("BoxConfig", self.norm, self.norm_groups, self.conv_layers, self.pool_size)
        all_positive("BoxConfig", "conv_layers", self.conv_layers)
        positive("BoxConfig", "representation", self.representation)
        weights("BoxConfig", self.regression_weights)
        for name in ("detections_per_image", "samples_per_image", "box_beta"):
            at_least("BoxConfig", name, getattr(self, name), 0)
        one_of("BoxConfig", "sampler", self.sampler, ("balanced", "hardest"))
        require(self.head == "res5" or self.fc_layers >= 1,
                f"BoxConfig: fc_layers must be at least 1, got {self.fc_layers}")
        require(self.head == "layers" or not self.conv_layers,
                f"BoxConfig: head 'res5' has no other layers: conv_layers must be empty, got {self.conv_layers}")


@dataclass(frozen=True)
class MaskConfig:
    """The mask branch: some 3x3 convolutions, a deconvolution, one map a class.

    Args:
        pool_size: pooling gives pool_size x pool_size cells; masks have twice as many a side, or with
            `BoxConfig.head` "res5", which halves them first, as many, rounded up to even.
        sampling_ratio, aligned, pool_kind, pool_reduce: as in `BoxConfig`.
        layers: widths of the 3x3 convolutions.
        deconv_channels: width after the deconvolution.
        norm: "none" (a bias instead), "group", "batch" or "sync", after each 3x3 convolution.
        norm_groups: GroupNorm takes gcd(channels, norm_groups) groups.
        target_rule: "soft" (torchvision's averages) or "binary" (detectron2's, 0 or 1).
        paste_rule: "integer" (torchvision's) or "continuous" (detectron2's).
        threshold: a pixel belongs to the object from this probability on ("bool", "rle").
        mask_format: "soft" float (N, 1, H, W), "bool" (N, 1, H, W), or "rle", a list of N COCO
            RLE dicts.
        class_agnostic: one map a box, not one for every class.
        head: "fcn" (`layers` and a deconvolution), or "mlp": two fully connected layers of 1024 and one to the
            cells of every class's mask, the other row of table 2e of the paper.
        loss: "sigmoid", each class's map for itself, or "softmax", a cell's classes among each other (table 2b).
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
    pool_kind: str = "roi_align"
    pool_reduce: str = "mean"
    class_agnostic: bool = False
    head: str = "fcn"
    loss: str = "sigmoid"

    def __post_init__(self) -> None:
        _norms("MaskConfig", self.norm, self.norm_groups, self.layers, self.pool_size)
        all_positive("MaskConfig", "layers", self.layers)
        positive("MaskConfig", "deconv_channels", self.deconv_channels)
        fraction("MaskConfig", "threshold", self.threshold)
        one_of("MaskConfig", "target_rule", self.target_rule, ("soft", "binary"))
        one_of("MaskConfig", "paste_rule", self.paste_rule, ("integer", "continuous"))
        one_of("MaskConfig", "mask_format", self.mask_format, ("soft", "bool", "rle"))
        _pooler("MaskConfig", self.pool_kind, self.pool_reduce, self.pool_size)
        one_of("MaskConfig", "head", self.head, ("fcn", "mlp"))
        one_of("MaskConfig", "loss", self.loss, ("sigmoid", "softmax"))
        require(self.loss == "sigmoid" or not self.class_agnostic,
                "MaskConfig: loss 'softmax' sets a cell's classes against each other: class_agnostic must be False")


@dataclass(frozen=True)
class KeypointConfig:
    """The keypoint branch: 3x3 convolutions, a deconvolution, bilinear doubling, one map a keypoint.

    Args:
        num_keypoints: of an object.
        pool_size: pooling gives pool_size x pool_size cells; a keypoint's map has four times as many a side.
        sampling_ratio, aligned, pool_kind, pool_reduce: as in `BoxConfig`.
        layers: widths of the 3x3 convolutions.
        score_rule: "logit", a keypoint's score is the largest value of its map, as torchvision's, or "probability",
            that of its softmax over the map as the network gives it, as detectron2's.
        loss_weight: factor of the loss.
    """

    num_keypoints: int = 17
    pool_size: int = 14
    sampling_ratio: int = 2
    aligned: bool = False
    layers: tuple[int, ...] = (512,) * 8
    pool_kind: str = "roi_align"
    pool_reduce: str = "mean"
    score_rule: str = "logit"
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        positive("KeypointConfig", "num_keypoints", self.num_keypoints)
        one_of("KeypointConfig", "score_rule", self.score_rule, ("logit", "probability"))
        _pooler("KeypointConfig", self.pool_kind, self.pool_reduce, self.pool_size)
        require(len(self.layers) > 0, "KeypointConfig: layers must not be empty")
        all_positive("KeypointConfig", "layers", self.layers)
        at_least("KeypointConfig", "loss_weight", self.loss_weight, 0)


@dataclass(frozen=True)
class MaskScoreConfig:
    """The branch that predicts the IoU of a predicted mask with the object (Huang et al. 2019).

    Args:
        layers: widths of the 3x3 convolutions; the last one has stride 2.
        representation: width of the two fully connected layers.
        loss_weight: factor of the loss, half the mean squared error.
        target_logit: a cell of the prediction belongs to the mask, whose IoU is the target, above this logit;
            mmdetection's 0.5 is a probability of 0.62, the paper's is 0.5, a logit of 0.
    """

    layers: tuple[int, ...] = (256, 256, 256, 256)
    representation: int = 1024
    loss_weight: float = 1.0
    target_logit: float = 0.5

    def __post_init__(self) -> None:
        require(len(self.layers) > 0, "MaskScoreConfig: layers must not be empty")
        all_positive("MaskScoreConfig", "layers", self.layers)
        at_least("MaskScoreConfig", "loss_weight", self.loss_weight, 0)
        positive("MaskScoreConfig", "representation", self.representation)
