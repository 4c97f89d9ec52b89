"""Losses: a RetinaNet's logits, and matched pairs of boxes; forward and backward."""

import torch

import roikit.ops

from . import _inputs


class Focal:
    params = ["cpu", "cuda"]
    param_names = ["device"]

    def setup(self, device):
        g = torch.Generator().manual_seed(0)
        logits, targets = torch.randn(50_000, 80, generator=g), (torch.rand(50_000, 80, generator=g) < 0.01).float()
        self.logits, self.targets = _inputs.on(device, logits, targets)
        self.logits.requires_grad_()

    def time_sigmoid_focal_loss(self, device):
        torch.autograd.grad(roikit.ops.sigmoid_focal_loss(self.logits, self.targets, reduction="sum"), self.logits)
        _inputs.wait(device)


class BoxLosses:
    params = [["generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss"], ["cpu", "cuda"]]
    param_names = ["loss", "device"]

    def setup(self, loss, device):
        self.loss = getattr(roikit.ops, loss)
        self.boxes, self.truth = _inputs.on(device, _inputs.boxes(10_000, seed=1), _inputs.boxes(10_000, seed=2))
        self.boxes.requires_grad_()

    def time_loss_of_matched_boxes(self, loss, device):
        torch.autograd.grad(self.loss(self.boxes, self.truth, "sum"), self.boxes)
        _inputs.wait(device)
