"""Hybrid Task Cascade: a cascade whose mask branches take turns with its box heads, and tell each other what they saw.

    maps --> semantic branch --> embedding, which every pool(.) below adds to its own

    B0 --> pool --> box head 1 --> C1, B1 --> pool --> box head 2 --> C2, B2 --> ...
                                    |                                  |
                                   pool --> mask head 1 --(flow)------pool --> mask head 2 --(flow)--> ...
                                              |                                  |
                                              M1                                 M2
    detections: boxes and scores as a cascade's, masks the mean of M1, M2, M3

Three ideas, each of which may be left out. Interleaved execution: the mask branch of a stage learns from the boxes that
the stage has refined, not from those it was given. Mask information flow: a mask head takes its pooled boxes plus what
the head before makes of them, by a 1x1 convolution. Semantic branch: `roikit.models.roi.semantic`. Without all three it
is `CascadeRoIHeads` with a mask branch in every stage.

Source: Chen et al. 2019, arXiv:1901.07518. How samples are drawn, where ReLU stands, and the losses are those of
mmdetection, which publishes weights.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from roikit.models.configs import BoxConfig, HybridConfig
from roikit.models.detectors.cascade import CascadeRoIHeads
from roikit.models.parts.graphs import between_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.heads import Detections
from roikit.models.roi.mask import own_logits
from roikit.models.roi.samples import Samples
from roikit.models.roi.semantic import EMBEDDING, semantic_loss

__all__ = ["HybridRoIHeads", "MaskFlow"]


class MaskFlow(nn.Sequential):
    """What a mask head gets of the one before: (R, in_channels, P, P) -> (R, channels, P, P), 1x1 and ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        conv = nn.Conv2d(in_channels, channels, 1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.ReLU(inplace=True))


class HybridRoIHeads(CascadeRoIHeads):
    """`CascadeRoIHeads` with a mask branch in every stage, and the three ideas.

    Args:
        parts, named: as of `CascadeRoIHeads`. With a semantic branch both poolers are `SemanticRoIPool`s.
        hybrid: which ideas there are.
        mask_flow: one `MaskFlow` for every stage but the first, or None.
        semantic_head: as `SemanticHead`, or None.

    Raises:
        ValueError: in training, a target without the key 'semantic', which a semantic branch learns from.
    """

    def __init__(self, *parts: Any, hybrid: HybridConfig, mask_flow: Sequence[nn.Module] | None = None,
                 semantic_head: nn.Module | None = None, **named: Any) -> None:
        super().__init__(*parts, **named)
        stages = len(self.cascade.stages)
        for name, part, wanted in (("mask_flow", mask_flow, hybrid.mask_flow),
                                   ("semantic_head", semantic_head, hybrid.semantic is not None)):
            if (part is not None) != wanted:
                raise ValueError(f"HybridRoIHeads: {name} must be given where the configuration asks for it, and only "
                                 f"there, got {type(part).__name__}")
        if mask_flow is not None and len(mask_flow) != stages - 1:
            raise ValueError(f"HybridRoIHeads: mask_flow must hold one part for every stage but the first, that is "
                             f"{stages - 1}, got {len(mask_flow)}")
        self.hybrid = hybrid
        if mask_flow is not None:
            self.mask_flow = nn.ModuleList(mask_flow)
        if semantic_head is not None:
            self.semantic_head = semantic_head

    @between_graphs
    def detect(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch) -> Detections:
        if self.hybrid.semantic is not None:
            _, embedding = self.semantic_head(list(features.values()))
            features = features | {EMBEDDING: embedding}
        return super().detect(features, proposals, batch)

    @between_graphs
    def learn(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch, truths: list[Truth]
              ) -> tuple[list[Samples], dict[str, Tensor]]:
        if self.hybrid.semantic is None:
            return super().learn(features, proposals, batch, truths)
        logits, embedding = self.semantic_head(list(features.values()))
        samples, losses = super().learn(features | {EMBEDDING: embedding}, proposals, batch, truths)
        return samples, losses | semantic_loss(logits, truths, batch.padded_size, self.hybrid.semantic)

    @between_graphs
    def _mask_samples(self, samples: list[Samples], refined: list[Tensor], truths: list[Truth], box: BoxConfig
                      ) -> list[Samples]:
        if not self.hybrid.interleaved:
            return samples
        return self._sample_stage(refined, truths, box, self.cascade.resample)

    def _asked_stages(self) -> Sequence[int]:
        stages = super()._asked_stages()
        return stages if self.hybrid.masks == "mean" else stages[-1:]

    @between_graphs
    def _mask_logits(self, pooled: Tensor, labels: Tensor, stages: Sequence[int]) -> list[Tensor]:
        if not self.hybrid.mask_flow:
            return super()._mask_logits(pooled, labels, stages)
        logits, seen = [], None
        for stage in range(stages[-1] + 1):
            seen = _seen(self.mask_head[stage], pooled, *(() if seen is None else (self.mask_flow[stage - 1], seen)))
            if stage in stages:
                logits.append(own_logits(self.mask_predictor[stage], seen, labels, self.mask))
        return logits


def _seen(head: nn.Module, pooled: Tensor, flow: nn.Module | None = None, before: Tensor | None = None) -> Tensor:
    """What a mask head makes of its boxes, and of what the head before has seen."""
    return head(pooled if flow is None else pooled + flow(before))
