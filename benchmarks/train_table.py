"""Times a training step of Mask R-CNN on a CPU: torchvision's model, roikit's, and that with Winograd's algorithm.

    python -m benchmarks.train_table [--recipe scratch|finetune] [--threads 2] [--rounds 7] [--size 512,512]
                                     [--dtype float32|bfloat16] [--torchvision-ops LIBRARY] [--profile]

maskrcnn_resnet50_fpn with the same random weights, two images with 8 objects each, SGD with momentum. "scratch": batch
norm, all layers trained, as the builders have it without weights; "finetune": batch norm with fixed statistics and
affine, stem and first stage fixed, as they have it with weights. The models take turns, step by step, so that noise
hits them alike; printed are each model's median, 10th to 90th percentile, its parts, the median of the ratios of
torchvision's time to roikit's in the same round, and how far the losses of the first step are from torchvision's.
Lines with # are single rounds. --profile adds the operators that take longest. LIBRARY as in `roikit bench`.
"""

import argparse
import copy
import statistics
import time

import torch

from roikit.bench.peers import import_peers
from roikit.models import BackboneConfig, ImageConfig, build_detector, with_winograd
from roikit.models.configs import DetectorConfig

from .gpu_step import scenes

PARTS = ("forward", "backward", "optimizer")


def models(torchvision, recipe, size):
    """torchvision's detector in training, small in its residual branches, and roikit's with its weights, plainly and
    `with_winograd`."""
    frozen = recipe == "finetune"
    layers = torchvision.models.detection.backbone_utils
    norm = torchvision.ops.misc.FrozenBatchNorm2d if frozen else torch.nn.BatchNorm2d
    trainable = 3 if frozen else 5
    torch.manual_seed(0)
    body = layers.resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm,
                                      trainable_layers=trainable)
    sides = {"min_size": min(size), "max_size": max(size)}
    theirs = torchvision.models.detection.MaskRCNN(body, 91, **sides)
    for module in theirs.modules():
        if type(module).__name__ == "Bottleneck":
            # Without trained statistics activations would otherwise grow by orders of magnitude.
            torch.nn.init.constant_(module.bn3.weight, 0.2)
    backbone = BackboneConfig(norm="frozen" if frozen else "batch", trainable_layers=trainable)
    image = ImageConfig(min_size=(sides["min_size"],), max_size=sides["max_size"])
    ours = build_detector(DetectorConfig(91, image, backbone))
    ours.load_state_dict(theirs.state_dict())
    found = {"torchvision": theirs.train(), "roikit": ours.train()}
    faster = copy.deepcopy(ours)
    return found | {"with Winograd": faster} if with_winograd(faster) else found


class Training:
    """A model, its optimizer, and what its steps took."""

    def __init__(self, model, batch, dtype):
        self.model, self.batch, self.dtype = model, batch, dtype
        self.optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-4, momentum=0.9)
        self.times = []

    def step(self):
        """The losses and the seconds of each part."""
        torch.manual_seed(len(self.times))  # the same samples for every model
        marks = [time.perf_counter()]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bfloat16"):
            losses = self.model(*self.batch)
        loss = sum(losses.values())
        marks.append(time.perf_counter())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        marks.append(time.perf_counter())
        return ({name: float(value.detach()) for name, value in losses.items()},
                [end - begin for begin, end in zip(marks, marks[1:], strict=False)])


def difference(losses, expected):
    worst = max(expected, key=lambda name: abs(losses[name] - expected[name]) / abs(expected[name]))
    return (f"loss {sum(losses.values()):.6f}, largest relative difference "
            f"{abs(losses[worst] - expected[worst]) / abs(expected[worst]):.1g} ({worst})")


def longest(training, count=14):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        training.step()
    events = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    for event in events[:count]:
        print(f"    {event.self_cpu_time_total / total:6.1%}  {event.self_cpu_time_total / 1e6:7.3f} s  "
              f"{event.count:5d} calls  {event.key}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=("scratch", "finetune"), default="scratch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="512,512", help="height,width")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of autocast")
    parser.add_argument("--torchvision-ops", metavar="LIBRARY")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torchvision = import_peers(torchvision_ops=options.torchvision_ops)["torchvision"]
    size = tuple(map(int, options.size.split(",")))
    batch = scenes(size, 8)
    trainings = {name: Training(model, batch, options.dtype)
                 for name, model in models(torchvision, options.recipe, size).items()}
    first = {name: training.step()[0] for name, training in trainings.items()}
    for _ in range(options.rounds):
        for training in trainings.values():
            training.times.append(training.step()[1])
        print("# " + ", ".join(f"{name} {sum(t.times[-1]):.3f} s" for name, t in trainings.items()), flush=True)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.recipe}, {options.dtype}, "
          f"2 images of {size[0]} x {size[1]}, {options.rounds} rounds")
    for name, training in trainings.items():
        steps = [sum(parts) for parts in training.times]
        ratio = statistics.median(sum(theirs) / own for theirs, own in
                                  zip(trainings["torchvision"].times, steps, strict=True))
        low, *_, high = statistics.quantiles(steps, n=10, method="inclusive")
        parts = ", ".join(f"{part} {statistics.median(p):.3f}"
                          for part, p in zip(PARTS, zip(*training.times, strict=True), strict=True))
        print(f"{name:12} {statistics.median(steps):6.3f} s ({low:.3f} to {high:.3f}; {parts})  {ratio:5.2f}x  "
              f"{difference(first[name], first['torchvision'])}")
        if options.profile:
            longest(training)


if __name__ == "__main__":
    main()
