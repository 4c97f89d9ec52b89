"""Iterative bounding boxes: one head, applied again to the boxes that it gave, at test time.

    proposals B0 --> pool --> head --> C1, B1
                     pool(B1) --> head --> C2, B2
                         pool(B2) --> head --> C3, B3
    detections: B3, scored by C3

Training is the plain detector's. The paper, for which this is a baseline, leaves the score open; here it is that of the
last application, the only one that has seen the box.

Source: Cai and Vasconcelos 2018, arXiv:1712.00726, section 3.1 and figure 3b.
"""

from typing import Any

from torch import Tensor

from roikit.models.configs import IterativeConfig
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch
from roikit.models.roi.heads import Detections, RoIHeads
from roikit.models.roi.refine import refined_boxes

__all__ = ["IterativeRoIHeads"]


class IterativeRoIHeads(RoIHeads):
    """`RoIHeads` whose one stage is applied several times to find boxes.

    Args:
        parts, named: as of `RoIHeads`.
        iterative: how often.
    """

    def __init__(self, *parts: Any, iterative: IterativeConfig, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.iterative = iterative

    @between_graphs
    def detect(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch) -> Detections:
        boxes = proposals
        for _ in range(self.iterative.times - 1):
            logits, deltas = self._predict_boxes(features, boxes, batch)
            boxes = self._refine(boxes, logits, deltas, batch.sizes)
        return super().detect(features, boxes, batch)

    @outside_graphs
    def _refine(self, boxes: list[Tensor], logits: Tensor, deltas: Tensor, sizes: list[tuple[int, int]]
                ) -> list[Tensor]:
        counts = [own.shape[0] for own in boxes]
        return [refined_boxes(*image, self.box, geometry=self.geometry)
                for image in zip(boxes, logits.split(counts), deltas.split(counts), sizes, strict=True)]
