"""The estimate of a step's memory: counted by hand, near what is kept, and nothing is changed by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from roikit.models import BackboneConfig, BoxConfig, DetectorConfig, ImageConfig, MaskConfig, build_detector
from roikit.trainer import load_config, memory, preset_names
from roikit.trainer.tasks import task_of

pytest.importorskip("yaml")

CPU = torch.device("cpu")
SMALL = DetectorConfig(
    num_classes=2, image=ImageConfig(min_size=(96,), max_size=192), backbone=BackboneConfig(
        "resnet18", norm="batch", fpn_channels=32, fpn_norm="group"), box=BoxConfig(
        representation=64, samples_per_image=32), mask=MaskConfig(layers=(32,), deconv_channels=32))


def settings(**groups):
    return load_config({"data": {"batch_size": 2}, "optimizer": {"ema": 0.9}, **groups})


def test_case_by_hand():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1, bias=False)

        def logits_of(self, x):
            return self.conv(x).sigmoid()

    found = memory.step_memory(Plain(), settings(model={"image": {"min_size": [64], "max_size": 64}}), [[64, 64]],
                               torch.device("cpu"))
    weights = 3 * 8 * 4
    kept = 2 * (3 + 8) * 64 * 64 * 4  # the input of the convolution, and the output of the sigmoid
    assert (found.weights, found.optimizer) == (2 * weights, 2 * weights)
    assert found.activations == kept * memory.ON_CPU and (found.images, found.size) == (2, (64, 64))
    assert found.line() == ("memory: a step of 2 images of 64x64 is estimated at 1 MiB beside the program (0 MiB for "
                            "weights, 0 MiB for gradients and optimizer, 1 MiB for activations)")


def test_law_it_is_near_what_a_step_keeps_and_changes_nothing():
    torch.manual_seed(0)
    model = build_detector(SMALL).train()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = memory.step_memory(model, replace(settings(), model=SMALL), [[96, 128]], CPU)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    kept, own = {}, {p.data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    mask = np.zeros((96, 128), np.uint8)
    mask[10:60, 10:70] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 70, 60]]), "labels": torch.tensor([1]),
              "masks": torch.tensor(mask)[None]}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model([torch.rand(3, 96, 128)] * 2, [target] * 2)
    assert losses and 0.7 < found.activations / memory.ON_CPU / sum(kept.values()) < 1.4


@pytest.mark.parametrize("image, augment, sizes, expected", [
    ({"min_size": [320], "max_size": 640}, {}, [[256, 256]], (320, 320)),
    ({"min_size": [100, 200], "max_size": 300}, {}, [[100, 400], [50, 50]], (224, 320)),
    ({"min_size": [100], "max_size": 300}, {"rotate": True}, [[100, 200]], (224, 224)),
    ({"resize_in_training": False}, {"crop": [120, 130]}, [[900, 900]], (128, 160)),
    ({"min_size": [65], "keep_aspect": False}, {}, [[10, 900]], (96, 96))])
def test_case_the_largest_batch(image, augment, sizes, expected):
    assert memory.batch_size_of(settings(model={"image": image}, augment=augment), sizes) == expected


def test_contract_a_model_that_cannot_be_counted():
    found = memory.step_memory(nn.Linear(1, 1), settings(), [[9, 9]], CPU)
    assert found.activations is None and "more than 0 MiB" in found.line() and "an unknown amount" in found.line()


@pytest.mark.parametrize("name", ["yolact", "mask-rcnn-c4", "cascade-mask-rcnn", "panoptic-fpn", "semantic-fpn",
                                  "rotated-faster-rcnn", "mask-keypoint-rcnn"])
def test_contract_every_kind_of_model_is_counted(name):
    assert name in preset_names()
    config = load_config(name)
    found = memory.step_memory(task_of(config.model).build(config.model).train(), config, [[256, 256]], CPU)
    assert found.activations > 10 * 2**20


def test_contract_processes_share_a_batch():
    counts = [memory.step_memory(nn.Linear(1, 1), settings(), [[64, 64]], CPU, world).images for world in (1, 2)]
    assert counts == [2, 1]
