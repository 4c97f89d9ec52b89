"""Cascade R-CNN: stages that each take the boxes of the one before, at growing overlaps.

    proposals B0 --> pool --> head 1 --> C1, B1
                                             |
                     pool(B1) --> head 2 --> C2, B2
                                                 |
                         pool(B2) --> head 3 --> C3, B3
    detections: B3, scored by the mean of C1, C2 and C3; then masks and more, as of any box

In training stage t learns from B(t-1), where a box is positive from the stage's own overlap on. Where every stage has a
mask branch, that of stage t learns from the positives of B(t-1) as well; of a detection all of them are asked, and the
mean of their probabilities is its mask.

Sources: Cai and Vasconcelos 2018, arXiv:1712.00726, and 2019, arXiv:1906.09756 (masks). The two libraries that publish
weights differ in what `CascadeConfig` leaves to choose.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.configs import BoxConfig, CascadeConfig, MaskConfig
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.box import box_losses
from roikit.models.roi.heads import Detections, RoIHeads
from roikit.models.roi.mask import found_boxes, mask_losses, own_logits, share
from roikit.models.roi.refine import refined_boxes
from roikit.models.roi.samples import Samples, match_proposals, positives
from roikit.models.roi.selection import select_detections

__all__ = ["CascadeRoIHeads"]


class CascadeRoIHeads(RoIHeads):
    """`RoIHeads` whose boxes and classes, and masks perhaps, come from several stages.

    Args:
        box_roi_pool: as in `RoIHeads`, for all stages.
        box_head, box_predictor: one of each for every stage.
        box: thresholds and counts of all stages; overlaps and regression weights stand in `cascade`.
        cascade: the stages, and how they go together.
        mask_roi_pool, mask_head, mask_predictor, mask: as in `RoIHeads`; where `cascade.mask_stages` is "every", a head
            and a predictor for every stage.
        named: `sampler`, all that it draws is learnt from, and `geometry`, as in `RoIHeads`.

    The losses of a stage are named as `RoIHeads` names them, with the stage's number from 0: `loss_classifier_stage0`,
    `loss_box_reg_stage0` and, with masks in every stage, `loss_mask_stage0`. Branches after the stages learn from the
    samples of the first one.
    """

    def __init__(self, box_roi_pool: nn.Module, box_head: Sequence[nn.Module], box_predictor: Sequence[nn.Module],
                 box: BoxConfig, cascade: CascadeConfig, mask_roi_pool: nn.Module | None = None,
                 mask_head: nn.Module | Sequence[nn.Module] | None = None,
                 mask_predictor: nn.Module | Sequence[nn.Module] | None = None, mask: MaskConfig | None = None,
                 **named: Any) -> None:
        given = {"box_head": box_head, "box_predictor": box_predictor}
        if cascade.mask_stages == "every":
            given |= {"mask_head": mask_head, "mask_predictor": mask_predictor}
        for name, parts in given.items():
            count = len(parts) if isinstance(parts, Sequence | nn.ModuleList) else type(parts).__name__
            if count != len(cascade.stages):
                raise ValueError(f"{type(self).__name__}: {name} must hold one part for each of the "
                                 f"{len(cascade.stages)} stages, got {count}")
            given[name] = nn.ModuleList(parts)
        super().__init__(box_roi_pool, given["box_head"], given["box_predictor"], box, mask_roi_pool,
                         given.get("mask_head", mask_head), given.get("mask_predictor", mask_predictor), mask,
                         **named)
        self.cascade = cascade
        if cascade.mask_stages == "every":
            self.branches = ()  # the stages ask for the masks

    @between_graphs
    def stages(self) -> list[BoxConfig]:
        """What holds for the boxes of each stage."""
        return [replace(self.box, foreground_iou=stage.iou, background_iou=stage.iou,
                        regression_weights=stage.regression_weights) for stage in self.cascade.stages]

    @between_graphs
    def detect(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch) -> Detections:
        refined, scores, stages = proposals, [], self.stages()
        for stage, box in enumerate(stages):
            boxes = refined
            logits, deltas = self._predict_stage(stage, features, boxes, batch)
            scores.append(logits)
            if stage + 1 < len(stages):
                refined = self._refine(boxes, logits, deltas, batch.sizes, box)
        detections = self._select_stages(scores, deltas, boxes, batch.sizes, box)
        if self.cascade.mask_stages == "every":
            self._add_masks(detections, features, batch)
        return detections

    @between_graphs
    def learn(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch, truths: list[Truth]
              ) -> tuple[list[Samples], dict[str, Tensor]]:
        boxes, losses, drawn = proposals, {}, []
        for stage, box in enumerate(self.stages()):
            samples = self._sample_stage(boxes, truths, box, stage == 0 or self.cascade.resample)
            drawn.append(samples)
            logits, deltas = self._predict_stage(stage, features, [s.boxes for s in samples], batch)
            own = self._learn_stage(samples, logits, deltas, truths, box)
            boxes = self._refine_samples(samples, logits, deltas, truths, box)
            if self.cascade.mask_stages == "every":
                samples = self._mask_samples(samples, boxes, truths, box)
                own |= self._learn_masks(stage, features, samples, truths, batch)
            weight = self.cascade.stages[stage].loss_weight
            losses |= {f"{name}_stage{stage}": loss * weight for name, loss in own.items()}
        return drawn[0], losses

    @between_graphs
    def _predict_stage(self, stage: int, features: dict[str, Tensor], boxes: list[Tensor], batch: ImageBatch
                       ) -> tuple[Tensor, Tensor]:
        pooled = self._scaled(self.box_roi_pool(features, boxes, batch.padded_size))
        return _box_layers(self.box_head[stage], self.box_predictor[stage], pooled)

    @between_graphs
    def _scaled(self, pooled: Tensor) -> Tensor:
        """The pooled boxes, whose gradient is scaled on its way into the maps."""
        factor = self.cascade.gradient_scale
        if self.training and pooled.requires_grad and factor != 1.0:
            pooled.register_hook(lambda gradient: gradient * factor)
        return pooled

    @outside_graphs
    def _sample_stage(self, boxes: list[Tensor], truths: list[Truth], box: BoxConfig, draw: bool) -> list[Samples]:
        """A new sample of each image's boxes and true boxes, or all of its boxes, matched anew."""
        if draw:
            return [self.sampler.draw(own, truth, box) for own, truth in zip(boxes, truths, strict=True)]
        return [match_proposals(own, truth, box.foreground_iou, box.background_iou)[0]
                for own, truth in zip(boxes, truths, strict=True)]

    @between_graphs
    def _mask_samples(self, samples: list[Samples], refined: list[Tensor], truths: list[Truth], box: BoxConfig
                      ) -> list[Samples]:
        """What a stage's mask branch learns from: what its box head has learnt from."""
        return samples

    @outside_graphs
    def _learn_stage(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth],
                     box: BoxConfig) -> dict[str, Tensor]:
        self._check_labels(truths, logits.shape[1])
        return box_losses(logits, deltas, samples, truths, box)

    @outside_graphs
    def _refine(self, boxes: list[Tensor], logits: Tensor, deltas: Tensor, sizes: list[tuple[int, int]], box: BoxConfig
                ) -> list[Tensor]:
        counts = [own.shape[0] for own in boxes]
        return [refined_boxes(*image, box, geometry=self.geometry)
                for image in zip(boxes, logits.split(counts), deltas.split(counts), sizes, strict=True)]

    @outside_graphs
    def _refine_samples(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth],
                        box: BoxConfig) -> list[Tensor]:
        """The next stage's candidates.

        Where it draws anew, the true boxes among the samples are left out: the sampler adds them again. Otherwise boxes
        that have lost their area are.
        """
        counts = [len(sample.labels) for sample in samples]
        candidates = []
        for sample, own, moves, truth in zip(samples, logits.split(counts), deltas.split(counts), truths, strict=True):
            boxes = refined_boxes(sample.boxes, own, moves, truth.image_size, box, sample.labels, self.geometry)
            if self.cascade.resample:
                keep = ~_true_boxes(sample, truth)
            else:
                keep = self.geometry.valid(boxes)
            candidates.append(boxes[keep])
        return candidates

    @outside_graphs
    def _select_stages(self, logits: list[Tensor], deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]],
                       box: BoxConfig) -> Detections:
        """Detections of the last stage's boxes and deltas, by the scores of all stages."""
        if self.cascade.score == "mean_logit":
            probabilities = torch.stack(logits).mean(0).softmax(-1)
        else:
            probabilities = torch.stack([own.softmax(-1) for own in logits]).mean(0)
        counts = [own.shape[0] for own in boxes]
        return [select_detections(*image, box, self.geometry)
                for image in zip(probabilities.split(counts), deltas.split(counts), boxes, sizes, strict=True)]

    @between_graphs
    def _learn_masks(self, stage: int, features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
                     batch: ImageBatch) -> dict[str, Tensor]:
        boxes, labels = positives(samples)
        pooled = self._scaled(self.mask_roi_pool(features, boxes, batch.padded_size))
        logits, = self._mask_logits(pooled, labels, (stage,))
        return mask_losses(logits, samples, truths, self.mask)

    @between_graphs
    def _add_masks(self, detections: Detections, features: dict[str, Tensor], batch: ImageBatch) -> None:
        boxes, labels = found_boxes(detections)
        logits = self._mask_logits(self.mask_roi_pool(features, boxes, batch.padded_size), labels, self._asked_stages())
        share("masks", torch.stack([own.sigmoid() for own in logits]).mean(0)[:, None], detections)

    def _asked_stages(self) -> Sequence[int]:
        """The stages whose masks a detection gets the mean of."""
        return range(len(self.cascade.stages))

    @between_graphs
    def _mask_logits(self, pooled: Tensor, labels: Tensor, stages: Sequence[int]) -> list[Tensor]:
        """(R, M, M) logits of each box's own class by the mask branch of each of these stages."""
        logits = []
        for stage in stages:  # a comprehension would be a function of its own to torch.compile, and one graph of all
            logits.append(_mask_layers(self.mask_head[stage], self.mask_predictor[stage], pooled, labels, self.mask))
        return logits


# Layers as arguments: stages of the same shapes share a graph.
def _box_layers(head: nn.Module, predictor: nn.Module, pooled: Tensor) -> tuple[Tensor, Tensor]:
    logits, deltas = predictor(head(pooled))
    # Boxes, scores and losses are float32 under autocast and for half models as well.
    kind = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(kind), deltas.to(kind)


def _mask_layers(head: nn.Module, predictor: nn.Module, pooled: Tensor, labels: Tensor, config: MaskConfig) -> Tensor:
    return own_logits(predictor, head(pooled), labels, config)


def _true_boxes(sample: Samples, truth: Truth) -> Tensor:
    """(S,) whether a sample is the box of its object itself, as a sampler adds it."""
    if not len(truth.boxes):
        return torch.zeros_like(sample.labels, dtype=torch.bool)
    objects = truth.boxes.to(sample.boxes.dtype)[sample.matched]
    return (sample.labels > 0) & (sample.boxes == objects).all(1)
