"""What the rows of `model_table` share: random weights, an image, and the score that detections need."""

from dataclasses import dataclass
from pathlib import Path

import torch

from roikit import models

from . import _inputs

__all__ = ["MODELS", "Case", "build", "image_of", "new_case"]

# How each is called on the command line: its builder, which torchvision has as well, or its name in detectron2's zoo.
MODELS = {name: name for name in ("maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn")} | {
    "cascade": "Misc/cascade_mask_rcnn_R_50_FPN_3x", "c4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x"}
PASSING = 400


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        model: one of MODELS.
        size: of the image, (height, width); the network sees it at that size.
        folder: for ``weights.pt``, and what the rows write.
        score_threshold: that some PASSING pairs of a box and a class pass, about as many as with trained weights.
        threads: of each row.
        torchvision_ops: a library that registers torchvision's operators, or None.
    """

    model: str
    size: tuple
    folder: Path
    score_threshold: float
    threads: int
    torchvision_ops: str | None

    @property
    def weights(self):
        return self.folder / "weights.pt"

    @property
    def onnx(self):
        return self.folder / "model.onnx"

    def settings(self, prefix):
        """The arguments of a builder that the case decides; its threshold's name begins with ``prefix``."""
        return {"min_size": min(self.size), "max_size": max(self.size), prefix: self.score_threshold}


def image_of(case):
    return torch.rand(3, *case.size, generator=_inputs.generator(0))


def build(case, weights=True):
    """roikit's detector in evaluation mode, with the case's weights."""
    name = MODELS[case.model]
    if "/" in name:
        model = models.detectron2_model(name, **case.settings("score_threshold"))
    else:
        model = getattr(models, name)(**case.settings("box_score_thresh"))
    if weights:
        model.load_state_dict(torch.load(case.weights, weights_only=True))
    return model.eval()


def new_case(model, size, folder, threads, torchvision_ops):
    """A case with its weights drawn and written: small residual branches, and a box head whose scores are spread."""
    case = Case(model, size, folder, 1.0, threads, torchvision_ops)
    torch.manual_seed(0)
    network = build(case, weights=False)
    for name, module in network.named_modules():
        if name.endswith("bn3"):
            # Without trained statistics activations would otherwise grow by orders of magnitude.
            module.weight.data.fill_(0.2)
        elif name.endswith("cls_score"):
            torch.nn.init.normal_(module.weight, std=0.02)
    torch.save(network.state_dict(), case.weights)
    return Case(model, size, folder, _threshold(network, image_of(case)), threads, torchvision_ops)


def _threshold(model, image):
    """The score that PASSING pairs of a box and a class exceed, or half of them where they are fewer."""
    seen = []
    hooks = [module.register_forward_hook(lambda module, given, logits: seen.append(logits.softmax(-1)))
             for name, module in model.named_modules() if name.endswith("cls_score")]
    model([image])
    for hook in hooks:
        hook.remove()
    scores = torch.stack(seen).mean(0)[:, 1:].flatten()  # a cascade's stages count alike
    return float(scores.topk(min(PASSING, len(scores) // 2)).values[-1])
