"""Times YOLACT on a CPU: its authors' code, roikit's, and roikit's prepared in float32 and bf16.

    python -m benchmarks.yolact_table FOLDER [--model yolact_resnet50] [--threads 2] [--rounds 7]

FOLDER is a checkout of dbolya/yolact, which needs OpenCV and pycocotools. Both have the same random weights and get the
same picture of 480 x 640, which they see at 550 x 550; masks have the picture's own size, theirs as floats that are 0
or 1, roikit's as runs. The bias of the background is set so that some 400 priors pass the score threshold. The models
take turns, so that noise hits them alike; printed are each model's median, 10th to 90th percentile, the median of the
ratios of the authors' time to its time in the same round, what follows the network (selection, masks) as a share of
its time, and how its detections differ from theirs. Their code asks for a GPU when it is imported; a stand-in answers.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from roikit.models import prepare_for_inference, yolact_resnet50_fpn, yolact_resnet101_fpn

from . import _inputs
from .turns import print_beside, taken_in_turns

BUILDERS = {"yolact_resnet50": yolact_resnet50_fpn, "yolact_base": yolact_resnet101_fpn}
SIZE, SIDE, PASSING = (480, 640), 550, 400


def authors(folder, name):
    """Their network with random weights: small residual branches, class scores that are spread."""
    sys.path.insert(0, folder)
    torch.cuda.current_device, torch.cuda.device_count = lambda: 0, lambda: 0
    from data import cfg, set_cfg
    set_cfg(f"{name}_config")
    cfg.mask_proto_debug = False
    from yolact import Yolact
    torch.manual_seed(0)
    model = Yolact()
    model.eval()  # theirs returns nothing
    model.detect.use_fast_nms = True
    for key, module in model.named_modules():
        if key.endswith("bn3"):
            # Without trained statistics activations would otherwise grow by orders of magnitude.
            module.weight.fill_(0.2)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if key.endswith("bbox_layer"):
            module.weight.mul_(0.1)
    return model


def network_input(image):
    """An RGB image in 0 .. 1 as the authors' network takes it."""
    from data import MEANS, STD
    x = F.interpolate(image[None] * 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
    mean, deviation = (torch.tensor(values[::-1])[:, None, None] for values in (MEANS, STD))
    return (x - mean) / deviation


def spread_scores(model, image):
    """Sets the background's bias so that PASSING priors have a class above the threshold."""
    layer = model.prediction_layers[0].conf_layer
    detect, seen = model.detect, []
    model.detect = lambda found, net: seen.append(found["conf"]) or []
    model(network_input(image))
    scores = seen[0][0]
    layer.weight.mul_(2 / scores.clamp(min=1e-9).log().std())
    low, high = -20.0, 20.0
    for _ in range(24):
        bias = (low + high) / 2
        layer.bias.view(-1, model.detect_classes)[:, 0] = bias
        model(network_input(image))
        passing = int((seen.pop()[0, :, 1:].max(1).values > 0.05).sum())
        low, high = (bias, high) if passing > PASSING else (low, bias)
    model.detect = detect


def counterpart(name, model):
    """roikit's network with the authors' weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pth"
        torch.save(model.state_dict(), path)
        return BUILDERS[name](weights=path).eval()


class Share:
    """How much of the time of a roikit model's calls follows the network."""

    def __init__(self, model):
        self.model, self.taken, self.after = model, [], 0.0
        for name in ("_select", "_finish_all"):
            setattr(model, name, self.timed(getattr(model, name)))

    def timed(self, work):
        def call(*arguments):
            begun = time.perf_counter()
            result = work(*arguments)
            self.after += time.perf_counter() - begun
            return result

        return call

    def __call__(self, image):
        self.after, begun = 0.0, time.perf_counter()
        found = self.model([image])[0]
        self.taken.append(self.after / (time.perf_counter() - begun))
        return found


def difference(found, expected):
    labels, scores, _, masks = expected
    words = f"{len(found['labels'])} detections"
    if not torch.equal(found["labels"] - 1, labels):
        return f"{words}, not the same or not in order"
    return f"{words}, same labels, scores {(found['scores'] - scores).abs().max():.1g}"


@torch.no_grad()
def works_of(folder, name):
    """name -> (function, what it says of its first result), and name -> Share."""
    image = torch.rand(3, *SIZE, generator=_inputs.generator(0))
    theirs = authors(folder, name)
    theirs.detect_classes = theirs.prediction_layers[0].num_classes
    spread_scores(theirs, image)
    from layers.output_utils import postprocess

    def detect():
        return postprocess(theirs(network_input(image)), SIZE[1], SIZE[0])

    ours = counterpart(name, theirs)
    ours.mask_format = "rle"
    models = {"roikit": ours, "prepared": prepare_for_inference(ours)}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        models["prepared bf16"] = prepare_for_inference(ours, "bf16")
    expected = detect()
    works = {"authors": (detect, f"{len(expected[0])} detections")}
    shares = {key: Share(model) for key, model in models.items()}
    for key, share in shares.items():
        works[key] = (lambda share=share: share(image), difference(share(image), expected))
    return works, shares


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model", choices=BUILDERS, default="yolact_resnet50")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    works, shares = works_of(options.folder, options.model)
    times = taken_in_turns({key: work for key, (work, _) in works.items()}, options.rounds)
    words = {key: said for key, (_, said) in works.items()}
    for key, share in shares.items():
        words[key] += f", {100 * statistics.median(share.taken):.1f} % after the network"
    print(f"{options.model}: one picture of {SIZE[0]} x {SIZE[1]} at {SIDE} x {SIDE}, {torch.get_num_threads()} "
          f"threads, torch {torch.__version__}, {options.rounds} rounds")
    print_beside("authors", times, words)


if __name__ == "__main__":
    main()
