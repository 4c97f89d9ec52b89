"""A class for each pixel: the parts in the order in which an image meets them.

    images --> body (and pyramid) --> maps --> classifier --> logits, resized to the image --> classes
                                       '-----> aux_classifier, in training
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.necks.formats import WithFormats
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch
from roikit.models.parts.inference_layer import refuse_training
from roikit.models.segmentation.losses import label_maps, pixel_loss
from roikit.models.segmentation.windows import windowed

__all__ = ["Segmenter"]

Result = dict[str, Tensor]


class Segmenter(WithFormats):
    """Classes of pixels.

    Args:
        transform: as `ImageTransform`.
        backbone: (N, C, H, W) -> dict of maps, finest first.
        classifier: from the last map to (N, num_classes, h, w) logits; where it has `takes_maps`, from the list of all.
        aux_classifier: from the map before the last to logits, or None.
        num_classes: of the logits.
        aux_weight: factor of the second head's loss.
        window: ((height, width), overlap) of sliding windows in evaluation, or None.
        ignored: pixels of this label have no loss.
        levels: how many of the backbone's maps are taken; None for all.
        map_format: the memory format of images and maps in training on a CPU, as in `BackboneWithFPN`.

    Attributes:
        give_logits: whether results have `logits` beside `classes`. May be set at any time.

    It is called in two ways. A list of images is roikit's: (3, H, W) tensors in [0, 1], of any sizes, are normalised
    and resized here, and the result is a list of dicts, or in training a dict of losses. A tensor (N, 3, H, W) is
    torchvision's: it is taken as it is, normalised already, and the result, in training too, is a dict of "out" and,
    where there is a second head, "aux": (N, num_classes, H, W) logits.
    """

    formats = ("map_format",)

    def __init__(self, transform: nn.Module, backbone: nn.Module, classifier: nn.Module,
                 aux_classifier: nn.Module | None = None, *, num_classes: int, aux_weight: float = 0.5,
                 window: tuple[tuple[int, int], float] | None = None, ignored: int = 255, levels: int | None = None,
                 map_format: torch.memory_format = torch.contiguous_format) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier
        self.num_classes, self.ignored = num_classes, ignored
        self.aux_weight, self.window, self.levels = aux_weight, window, levels
        self.map_format = map_format
        self.give_logits = False

    def train(self, mode: bool = True) -> "Segmenter":
        if mode:
            refuse_training(self)
        return super().train(mode)

    @between_graphs
    def forward(self, images: Sequence[Tensor] | Tensor, targets: Sequence[dict[str, Any]] | None = None
                ) -> dict[str, Tensor] | list[Result]:
        """
        Args:
            images: a list of images, or a batch in torchvision's form.
            targets: needed when training on a list, not looked at otherwise; for each image a dict with `semantic`
                (H, W) uint8 or int64: the class of each pixel, 0 to num_classes - 1, or the ignored label.

        Returns:
            Of a list, when training: a dict of scalar losses, `loss_semantic` and, with a second head,
            `loss_auxiliary`. Otherwise a list of dicts: `classes` (H, W) int64 of the image as it was given, and
            with `give_logits` also `logits` (num_classes, H, W). An image's result does not depend on the others.
            Of a batch: {"out", "aux"}.

        Raises:
            TypeError, ValueError: an image or a target of the wrong kind, dtype, shape or value, by its index.
        """
        if isinstance(images, Tensor):
            return self.logits_of(images)
        if self.training:
            return self._losses(images, targets)
        return self._results(images)

    def logits_of(self, x: Tensor, *, auxiliary: bool = True) -> dict[str, Tensor]:
        """Logits of a normalised batch.

        Args:
            x: (N, 3, H, W).
            auxiliary: whether the second head is asked, where there is one.

        Returns:
            dict of (N, num_classes, H, W): "out" and "aux".
        """
        if x.device.type == "cpu" and self.training and torch.is_grad_enabled():
            x = x.contiguous(memory_format=self.map_format)
        return self.through_heads(x, auxiliary)

    def through_heads(self, x: Tensor, auxiliary: bool) -> dict[str, Tensor]:
        """As `logits_of`, of a batch that lies in memory as it is to."""
        maps = list(self.backbone(x).values())[:self.levels]
        whole = getattr(self.classifier, "takes_maps", False)
        found = {"out": self.classifier(maps if whole else maps[-1])}
        if auxiliary and self.aux_classifier is not None:
            found["aux"] = self.aux_classifier(maps[-2])
        return {name: F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
                for name, logits in found.items()}

    @between_graphs
    def _losses(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None) -> dict[str, Tensor]:
        if targets is None or len(images) == 0:
            what = "targets must be given" if targets is None else "images must not be empty"
            raise ValueError(f"{type(self).__name__}: {what} when training")
        batch, labels = self._batch(images, targets)
        found = self.logits_of(batch.tensor)
        return self._compared(found, labels)

    @outside_graphs
    def _batch(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]]) -> tuple[ImageBatch, Tensor]:
        batch, _ = self.transform(images)
        return batch, label_maps(targets, batch, self.num_classes, self.ignored)

    @outside_graphs
    def _compared(self, found: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        losses = {"loss_semantic": pixel_loss(found["out"], labels, self.ignored)}
        if "aux" in found:
            losses["loss_auxiliary"] = self.aux_weight * pixel_loss(found["aux"], labels, self.ignored)
        return losses

    @between_graphs
    def _results(self, images: Sequence[Tensor]) -> list[Result]:
        results: list[Result] = [{} for _ in images]
        # Images of one size go together. Padded to a common one, a map would see its neighbours' sizes.
        for places, x, sizes, originals in self._groups(images):
            logits = self._evaluated(x)
            for row, place, size, original in zip(logits, places, sizes, originals, strict=True):
                results[place] = self.finish(row, size, original)
        return results

    @outside_graphs
    def _groups(self, images: Sequence[Tensor]) -> list[tuple[list[int], Tensor, list[Any], list[Any]]]:
        groups: dict[tuple[Any, ...], list[tuple[int, ImageBatch]]] = {}
        for place, image in enumerate(images):
            batch, _ = self.transform([image])
            # A single image may have sizes that torch.export leaves open.
            key = batch.tensor.shape[1:] if len(images) > 1 else ()
            groups.setdefault(key, []).append((place, batch))
        return [([place for place, _ in group], torch.cat([batch.tensor for _, batch in group]),
                 [batch.sizes[0] for _, batch in group], [batch.original_sizes[0] for _, batch in group])
                for group in groups.values()]

    @between_graphs
    def _evaluated(self, x: Tensor) -> Tensor:
        if self.window is None or all(side <= cut for side, cut in zip(x.shape[-2:], self.window[0], strict=True)):
            return self._out(x)
        return windowed(self._out, x, *self.window)

    def _out(self, x: Tensor) -> Tensor:
        return self.logits_of(x, auxiliary=False)["out"]

    @outside_graphs
    def finish(self, logits: Tensor, size: tuple[int, int], original: tuple[int, int]) -> Result:
        """The result of an image of `size` (H, W) in the batch, from its (C, height, width) logits there."""
        logits = logits[:, :size[0], :size[1]]
        if size != original:
            logits = F.interpolate(logits[None], size=original, mode="bilinear", align_corners=False)[0]
        return {"classes": logits.argmax(0)} | ({"logits": logits} if self.give_logits else {})
