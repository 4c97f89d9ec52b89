"""In which order stages and branches meet the proposals, where it is not once each."""

from dataclasses import dataclass, field

from roikit.models.configs.checks import all_positive, at_least, one_of, positive, require, weights

__all__ = ["CascadeConfig", "HybridConfig", "IntegralConfig", "IterativeConfig", "SemanticConfig", "StageConfig"]


@dataclass(frozen=True)
class StageConfig:
    """One stage of a cascade; everything else of it stands in the detector's `BoxConfig`.

    Args:
        iou: a box is positive from this overlap on, background below.
        regression_weights: factors of dx, dy, dw, dh in the regression targets, and of the turn of a rotated box.
        loss_weight: factor of the stage's losses.
    """

    iou: float
    regression_weights: tuple[float, ...]
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        require(0.0 < self.iou < 1.0, f"StageConfig: iou must be between 0 and 1, got {self.iou}")
        weights("StageConfig", self.regression_weights)
        positive("StageConfig", "loss_weight", self.loss_weight)


@dataclass(frozen=True)
class CascadeConfig:
    """Stages that refine each other's boxes (Cai and Vasconcelos 2018).

    Args:
        stages: in order; any number.
        score: of a box over the stages: "mean_probability" (the paper's and detectron2's) or "mean_logit"
            (mmdetection's).
        resample: True matches and draws anew in each stage, true boxes among the candidates, as mmdetection does;
            False keeps the first stage's sample and matches it anew, as detectron2 does.
        gradient_scale: factor of the gradient that a stage's losses send into the maps; detectron2 takes one over the
            number of stages and weights all losses alike.
        mask_stages: "last": one mask branch after the stages, as detectron2; "every": each stage has one, and the mean
            of their probabilities counts, as in mmdetection and the paper's strategy (c).
    """

    stages: tuple[StageConfig, ...] = (StageConfig(0.5, (10.0, 10.0, 5.0, 5.0)),
                                       StageConfig(0.6, (20.0, 20.0, 10.0, 10.0)),
                                       StageConfig(0.7, (30.0, 30.0, 15.0, 15.0)))
    score: str = "mean_probability"
    resample: bool = False
    gradient_scale: float = 1 / 3
    mask_stages: str = "last"

    def __post_init__(self) -> None:
        require(len(self.stages) > 0, "CascadeConfig: stages must not be empty")
        one_of("CascadeConfig", "score", self.score, ("mean_probability", "mean_logit"))
        one_of("CascadeConfig", "mask_stages", self.mask_stages, ("last", "every"))
        positive("CascadeConfig", "gradient_scale", self.gradient_scale)


@dataclass(frozen=True)
class SemanticConfig:
    """The branch that names a class for every cell of one pyramid level, from all levels (Chen et al. 2019).

    Args:
        num_classes: classes of the label maps.
        fusion_level: index of the level whose size the others are brought to; 1 has stride 8.
        layers: widths of the 3x3 convolutions after the fusion.
        loss_weight: factor of the loss; the paper's is 1, mmdetection's 0.2.
        ignored_label: cells of this label have no loss.
    """

    num_classes: int = 183
    fusion_level: int = 1
    layers: tuple[int, ...] = (256, 256, 256, 256)
    loss_weight: float = 0.2
    ignored_label: int = 255

    def __post_init__(self) -> None:
        positive("SemanticConfig", "num_classes", self.num_classes)
        at_least("SemanticConfig", "fusion_level", self.fusion_level, 0)
        require(len(self.layers) > 0, "SemanticConfig: layers must not be empty")
        all_positive("SemanticConfig", "layers", self.layers)
        positive("SemanticConfig", "loss_weight", self.loss_weight)


@dataclass(frozen=True)
class HybridConfig:
    """The three ideas that make a hybrid task cascade of a cascade with a mask branch in every stage.

    Args:
        interleaved: a stage's mask branch looks at the boxes that the stage has refined, not at those it was given.
        mask_flow: a mask branch hands what it has seen to the next one.
        semantic: the semantic branch, or None.
        masks: of a detection: "mean" of the probabilities of all stages, the paper's and mmdetection 2's, or "last",
            those of the last stage alone, which is what mmdetection 3.3 computes.
    """

    interleaved: bool = True
    mask_flow: bool = True
    semantic: SemanticConfig | None = field(default_factory=SemanticConfig)
    masks: str = "mean"

    def __post_init__(self) -> None:
        one_of("HybridConfig", "masks", self.masks, ("mean", "last"))


@dataclass(frozen=True)
class IterativeConfig:
    """One head applied again to the boxes that it gave, at test time (a baseline of the Cascade R-CNN paper).

    Args:
        times: how often the head is applied in all.
    """

    times: int = 3

    def __post_init__(self) -> None:
        positive("IterativeConfig", "times", self.times)


@dataclass(frozen=True)
class IntegralConfig:
    """Classifiers for several overlaps beside one regressor (a baseline of the Cascade R-CNN paper).

    Args:
        ious: from which overlap on a box is positive for each classifier; their losses are added, their probabilities
            averaged.
    """

    ious: tuple[float, ...] = (0.5, 0.6, 0.7)

    def __post_init__(self) -> None:
        require(len(self.ious) > 0 and all(0.0 < iou < 1.0 for iou in self.ious),
                f"IntegralConfig: ious must hold numbers between 0 and 1, got {self.ious}")
