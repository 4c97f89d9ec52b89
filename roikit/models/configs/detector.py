"""A whole detector."""

from dataclasses import dataclass, field

from roikit.models.configs.body import BackboneConfig
from roikit.models.configs.checks import one_of, require
from roikit.models.configs.dense import DenseConfig
from roikit.models.configs.image import ImageConfig
from roikit.models.configs.panoptic import PanopticConfig
from roikit.models.configs.proposals import RpnConfig
from roikit.models.configs.roi import BoxConfig, KeypointConfig, MaskConfig, MaskScoreConfig
from roikit.models.configs.wiring import CascadeConfig, HybridConfig, IntegralConfig, IterativeConfig

__all__ = ["DetectorConfig"]


@dataclass(frozen=True)
class DetectorConfig:
    """A detector: of two stages, where `mask=None` makes it a Faster R-CNN, or dense.

    Args:
        num_classes: classes including the background, which is 0.
        mask, keypoint: branches that are asked of every detection, or None.
        mask_score: predicts how good a mask is (Mask Scoring R-CNN), or None.
        cascade: several stages in place of one, or None.
        hybrid: what makes a Hybrid Task Cascade of the cascade, or None.
        iterative: the one stage is applied several times at test time, or None.
        integral: the one stage has several classifiers, or None.
        dense: boxes and masks straight from the maps, in place of the two stages (YOLACT), or None. `DenseConfig` says
            which fields of the others then count.
        panoptic: a semantic head on the same pyramid, and both results merged into one map, or None.
        boxes: "upright", x1 y1 x2 y2, or "rotated", cx cy w h and degrees counter-clockwise: with anchors of
            `rpn.angles`, RoIAlign, overlaps and suppression of rotated boxes, and masks in their frame.
        symmetry: the degrees after which a turned box is learnt as the same one: 360, as detectron2 does; 180, where
            front and back are alike; or 90, where a box is but a rectangle, whose sides may change places.

    A combination that cannot work is a ValueError that names the fields.
    """

    num_classes: int = 91
    image: ImageConfig = field(default_factory=ImageConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    rpn: RpnConfig = field(default_factory=RpnConfig)
    box: BoxConfig = field(default_factory=BoxConfig)
    mask: MaskConfig | None = field(default_factory=MaskConfig)
    keypoint: KeypointConfig | None = None
    mask_score: MaskScoreConfig | None = None
    cascade: CascadeConfig | None = None
    hybrid: HybridConfig | None = None
    iterative: IterativeConfig | None = None
    integral: IntegralConfig | None = None
    dense: DenseConfig | None = None
    panoptic: PanopticConfig | None = None
    boxes: str = "upright"
    symmetry: int = 360

    def __post_init__(self) -> None:
        require(self.num_classes >= 2,
                "DetectorConfig: num_classes must be at least 2 (the background counts), "
                f"got {self.num_classes}")
        require(self.backbone.neck != "maps",
                "DetectorConfig: backbone.neck must be 'fpn' or 'none', got 'maps', which is for segmenters")
        levels = len(self.backbone.proposal_strides)
        if self.dense is not None:
            self._check_dense(levels)
            return
        require(len(self.rpn.anchor_sizes) == levels,
                f"DetectorConfig: rpn.anchor_sizes must have one entry for each of the {levels} levels that "
                f"backbone.neck {self.backbone.neck!r} gives, got {len(self.rpn.anchor_sizes)}")
        one_of("DetectorConfig", "boxes", self.boxes, ("upright", "rotated"))
        one_of("DetectorConfig", "symmetry", self.symmetry, (360, 180, 90) if self.boxes == "rotated" else (360,))
        self._check_boxes()
        self._check_res5()
        self._check_branches()
        self._check_wiring()

    def _check_dense(self, levels: int) -> None:
        others = ("keypoint", "mask_score", "cascade", "hybrid", "iterative", "integral")
        given = [name for name in others if getattr(self, name) is not None]
        require(not given, f"DetectorConfig: dense has no stages and no branches: {', '.join(given)} must be None "
                "(dense.rescoring scores its masks)")
        require(self.mask is not None, "DetectorConfig: dense combines masks: mask must not be None")
        require(self.backbone.neck == "fpn",
                f"DetectorConfig: dense needs the levels of a pyramid: backbone.neck must be 'fpn', got "
                f"{self.backbone.neck!r}")
        require(len(self.dense.prior_sizes) == levels,
                f"DetectorConfig: dense.prior_sizes must have one entry for each of the {levels} levels that the "
                f"pyramid gives, got {len(self.dense.prior_sizes)}")

    def _check_boxes(self) -> None:
        rotated = self.boxes == "rotated"
        stages = () if self.cascade is None else self.cascade.stages
        for owner, part in (("box", self.box), *((f"cascade.stages[{i}]", stage) for i, stage in enumerate(stages))):
            require(len(part.regression_weights) == (5 if rotated else 4),
                    f"DetectorConfig: {owner}.regression_weights must be {'five' if rotated else 'four'} numbers for "
                    f"{self.boxes} boxes, got {part.regression_weights}")
        require(bool(self.rpn.angles) == rotated, "DetectorConfig: rpn.angles must hold the angles of rotated anchors, "
                f"and none for upright ones, got {self.rpn.angles} for {self.boxes} boxes")
        if not rotated:
            return
        require(not self.rpn.rounded_anchors and self.rpn.anchor_order == "size",
                "DetectorConfig: rotated anchors are not rounded, their size is outermost: rpn.rounded_anchors must be "
                f"False and rpn.anchor_order 'size', got {self.rpn.rounded_anchors} and {self.rpn.anchor_order!r}")
        for name in ("box", "mask"):
            part = getattr(self, name)
            require(part is None or (part.pool_kind, part.pool_reduce, part.aligned) == ("roi_align", "mean", True),
                    f"DetectorConfig: rotated boxes are pooled by RoIAlign of pixels' centres: {name}.pool_kind must "
                    f"be 'roi_align', {name}.pool_reduce 'mean' and {name}.aligned True")
        require(self.mask is None or self.mask.paste_rule == "continuous",
                "DetectorConfig: masks in rotated boxes are pasted by their cells' centres: mask.paste_rule must be "
                "'continuous'")
        require(self.box.selection.kind == "nms", "DetectorConfig: rotated boxes are selected by NMS: "
                f"box.selection.kind must be 'nms', got {self.box.selection.kind!r}")
        given = [name for name in ("keypoint", "mask_score", "hybrid") if getattr(self, name) is not None]
        require(not given, f"DetectorConfig: {', '.join(given)} takes upright boxes, got boxes 'rotated'")

    def _check_res5(self) -> None:
        if self.box.head != "res5":
            return
        require(self.backbone.neck == "none" and self.backbone.levels == ("c4",),
                "DetectorConfig: box.head 'res5' goes on from c4: backbone.neck must be 'none' and backbone.levels "
                f"('c4',), got {self.backbone.neck!r} and {self.backbone.levels}")
        require(self.backbone.name.startswith("res"),
                f"DetectorConfig: box.head 'res5' needs a ResNet or ResNeXt, got backbone.name {self.backbone.name!r}")
        if self.mask is not None:
            require(not self.mask.layers and self.mask.head == "fcn" and self.mask_score is None,
                    "DetectorConfig: with box.head 'res5' the mask branch takes that stage's maps: mask.layers must be "
                    "empty, mask.head 'fcn' and mask_score None")
            own, theirs = ((p.pool_size, p.sampling_ratio, p.aligned, p.pool_kind, p.pool_reduce)
                           for p in (self.mask, self.box))
            require(own == theirs, "DetectorConfig: with box.head 'res5' boxes and masks are pooled alike: pool_size, "
                    "sampling_ratio, aligned, pool_kind, pool_reduce of mask and box must agree, got "
                    f"{own} and {theirs}")

    def _check_branches(self) -> None:
        require(self.mask_score is None or self.mask is not None,
                "DetectorConfig: mask_score needs masks to score, but mask is None")
        require(self.mask_score is None or not self.mask.class_agnostic,
                "DetectorConfig: mask_score looks at the mask of one class: mask.class_agnostic must be False")
        require(self.mask_score is None or self.mask.loss == "sigmoid",
                "DetectorConfig: mask_score needs mask.loss 'sigmoid'")
        require(self.panoptic is None or self.mask is not None,
                "DetectorConfig: panoptic merges masks with stuff, but mask is None")
        require(self.panoptic is None or self.backbone.neck == "fpn",
                "DetectorConfig: panoptic has a semantic head on the levels of a pyramid: backbone.neck must be 'fpn', "
                f"got {self.backbone.neck!r}")
        require(self.panoptic is None or self.hybrid is None or self.hybrid.semantic is None,
                "DetectorConfig: panoptic and hybrid.semantic both learn from the label maps of targets, of other "
                "classes: one of them must be None")

    def _check_wiring(self) -> None:
        given = [name for name in ("cascade", "iterative", "integral") if getattr(self, name) is not None]
        require(len(given) <= 1, f"DetectorConfig: cascade, iterative and integral exclude each other, got {given}")
        require(not given or self.box.sampler == "balanced" or given == ["iterative"],
                f"DetectorConfig: box.sampler 'hardest' ranks the losses of one stage, got {given}")
        require(not given or self.box.head == "layers" or given == ["iterative"],
                f"DetectorConfig: box.head 'res5' is one stage's, got {given}")
        every = self.cascade is not None and self.cascade.mask_stages == "every"
        require(not every or self.mask is not None,
                "DetectorConfig: cascade.mask_stages 'every' needs masks, but mask is None")
        require(not every or self.mask_score is None,
                "DetectorConfig: mask_score looks at one mask branch, but cascade.mask_stages is 'every'")
        require(not every or self.mask.loss == "sigmoid",
                "DetectorConfig: cascade.mask_stages 'every' averages sigmoids: mask.loss must be 'sigmoid'")
        if self.hybrid is not None:
            require(every, "DetectorConfig: hybrid needs a cascade with mask_stages 'every'")
            require(not self.hybrid.mask_flow or self.mask.head == "fcn",
                    "DetectorConfig: hybrid.mask_flow hands on maps: mask.head must be 'fcn'")
            semantic = self.hybrid.semantic
            require(semantic is None or self.backbone.neck == "fpn",
                    "DetectorConfig: hybrid.semantic takes the levels of a pyramid: backbone.neck must be 'fpn'")
            require(semantic is None or 0 <= semantic.fusion_level < len(self.backbone.proposal_strides),
                    "DetectorConfig: hybrid.semantic.fusion_level must be the index of one of the "
                    f"{len(self.backbone.proposal_strides)} levels")
