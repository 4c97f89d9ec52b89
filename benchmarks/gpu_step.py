"""Times a training step of Mask R-CNN on roikit beside torchvision's model, with the same weights and inputs.

    python -m benchmarks.gpu_step [--steps 20] [--json FILE]

maskrcnn_resnet50_fpn, two images of 800 x 1333, bfloat16 autocast, SGD. The models take turns, step by step. Printed
are the median step, the peak memory of a step, and how much of the device's time is spent outside convolutions and
matrix products. torchvision's roi_align has no bfloat16 kernel: under autocast it runs in float32, as torchvision has
it.

`--device cpu` with a small --size and `--dtype float32` tries it without a GPU; --torchvision-ops LIBRARY as in
`roikit bench`.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from roikit.bench.peers import import_peers
from roikit.bench.table import machine
from roikit.bench.timing import Device

from . import _inputs

DENSE = ("conv", "gemm", "cudnn", "xmma", "cutlass", "winograd", "implicit", "sm80_", "sm90_", "nchwtonhwc",
         "nhwctonchw", "addmm", "::mm", "::bmm", "nvjet")


def scenes(size, objects, images=2, classes=91):
    """Random images with rectangles for objects, as torchvision's detectors take them."""
    height, width = size
    g = _inputs.generator(0)
    pictures, targets = [], []
    for i in range(images):
        boxes = _inputs.boxes(objects, min(size) / 16, min(size) / 2, i, height, width)
        masks = torch.zeros(objects, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2 + 1, x1:x2 + 1] = 1
        pictures.append(torch.rand(3, height, width, generator=g))
        targets.append({"boxes": boxes, "labels": torch.randint(1, classes, (objects,), generator=g), "masks": masks})
    return pictures, targets


class Training:
    """A model, its optimizer and its batch."""

    def __init__(self, model, batch, device, dtype):
        self.device, self.dtype = device, dtype
        self.model = model.to(device.name).train()
        weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(weights, 1e-4, momentum=0.9)
        images, targets = batch
        self.images = [image.to(device.name) for image in images]
        self.targets = [{k: v.to(device.name) for k, v in target.items()} for target in targets]

    def step(self):
        with torch.autocast(self.device.name, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            losses = self.model(self.images, self.targets)
        loss = sum(losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def timed(self):
        self.device.synchronize()
        begun = time.perf_counter()
        self.step()
        self.device.synchronize()
        return (time.perf_counter() - begun) * 1e3

    def peak(self):
        """Bytes that a step holds at most, beyond what was held before it."""
        if not self.device.cuda:
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def shares(self):
        """Milliseconds in all and outside the dense kernels, and the ten longest kernels outside."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self.device.cuda:
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=kinds) as profile:
            self.step()
            self.device.synchronize()
        times = {}
        for event in profile.events():
            name = event.name
            if self.device.cuda:
                if "CUDA" not in str(event.device_type) or name.startswith(("ProfilerStep", "Optimizer", "autograd::")):
                    continue
                spent = event.device_time_total if hasattr(event, "device_time_total") else event.cuda_time_total
            else:
                spent = event.self_cpu_time_total
            times[name] = times.get(name, 0.0) + spent / 1e3
        dense = sum(t for name, t in times.items() if is_dense(name))
        longest = sorted(((t, name) for name, t in times.items() if not is_dense(name)), reverse=True)[:10]
        return sum(times.values()), sum(times.values()) - dense, longest


def is_dense(name):
    """Whether a kernel is a convolution or a matrix product, or moves data for one."""
    return any(word in name.lower() for word in DENSE)


def models(options, library):
    """roikit's model and torchvision's with its weights; torchvision's is None where it cannot be had."""
    from roikit.models import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    ours = maskrcnn_resnet50_fpn(**options)
    try:
        if library:
            import_peers("cpu", library)
        from torchvision.models.detection import maskrcnn_resnet50_fpn as build
        theirs = build(weights=None, weights_backbone=None, **options)
    except Exception as reason:  # a binary that does not fit torch may raise anything
        print(f"# no peer: torchvision: {str(reason).splitlines()[0] if str(reason) else type(reason).__name__}")
        return {"roikit": ours}
    theirs.load_state_dict(ours.state_dict())
    return {"roikit": ours, "torchvision": theirs}


def result(training, times):
    total, outside, longest = training.shares()
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return {"median_ms": statistics.median(times), "p10_ms": tenths[0], "p90_ms": tenths[-1], "steps": len(times),
            "peak_bytes": training.peak(), "kernels_ms": total, "outside_convolutions_ms": outside,
            "longest_outside": [{"ms": t, "kernel": name} for t, name in longest]}


def report(name, r):
    peak = "" if r["peak_bytes"] is None else f", peak {r['peak_bytes'] / 2**30:.2f} GiB"
    print(f"{name}: {r['median_ms']:.1f} ms a step ({r['p10_ms']:.1f}-{r['p90_ms']:.1f}){peak}; kernels "
          f"{r['kernels_ms']:.1f} ms, of which outside convolutions and matrix products "
          f"{r['outside_convolutions_ms']:.1f} ms ({r['outside_convolutions_ms'] / max(r['kernels_ms'], 1e-9):.0%})")
    for one in r["longest_outside"]:
        print(f"    {one['ms']:9.3f} ms  {one['kernel'][:100]}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--objects", type=int, default=20, help="an image")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before the clock runs")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of autocast")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--torchvision-ops", metavar="LIBRARY")
    parser.add_argument("--json", help="also write the result to this file")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"gpu_step: there is no CUDA device (torch {torch.__version__}, built for CUDA {torch.version.cuda})")
    device = Device(chosen.device)
    options = {"min_size": min(chosen.size), "max_size": max(chosen.size)}
    batch = scenes(chosen.size, chosen.objects)
    trainings = {name: Training(model, batch, device, chosen.dtype)
                 for name, model in models(options, chosen.torchvision_ops).items()}
    for name, value in machine(device).items():
        print(f"# {name}: {value}")
    times = {name: [] for name in trainings}
    for turn in range(chosen.steps + chosen.warm_up):
        for name, training in trainings.items():
            milliseconds = training.timed()
            if turn >= chosen.warm_up:  # the first steps choose algorithms and fill the allocator
                times[name].append(milliseconds)
    results = {name: result(training, times[name]) for name, training in trainings.items()}
    for name, r in results.items():
        report(name, r)
    if "torchvision" in results:
        ratio = results["torchvision"]["median_ms"] / results["roikit"]["median_ms"]
        print(f"torchvision's step takes {ratio:.2f} times roikit's")
        results["ratio"] = ratio
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump({"machine": machine(device), "step": results}, file, indent=1)


if __name__ == "__main__":
    main()
