"""Times Mask R-CNN's inference on a CPU: torchvision's model, roikit's, and roikit's prepared in float32 and bf16.

    python -m benchmarks.model_table [--threads 2] [--rounds 7] [--size 800,1216] [--torchvision-ops LIBRARY]

maskrcnn_resnet50_fpn with the same random weights and one image. The box head's weights are drawn so, and the score
threshold set so, that some 400 pairs of a box and a class pass, about as many as with trained weights. The models take
turns, so that noise hits them alike; printed are each model's median, 10th to 90th percentile, the median of the
ratios of torchvision's time to its time in the same round, and how its detections differ from torchvision's.
Lines with # are single rounds. LIBRARY as in `roikit bench`.
"""

import argparse
from functools import partial

import torch

from roikit.bench.peers import import_peers
from roikit.models import maskrcnn_resnet50_fpn, prepare_for_inference

from . import _inputs
from .turns import print_beside, taken_in_turns

PASSING = 400


def peer(torchvision):
    """torchvision's model with random weights: small residual branches, and a box head whose scores are spread."""
    torch.manual_seed(0)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    for module in model.modules():
        if type(module).__name__ == "Bottleneck":
            # Without trained statistics activations would otherwise grow by orders of magnitude.
            torch.nn.init.constant_(module.bn3.weight, 0.2)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.02)
    return model


def threshold(model, image):
    """The score that PASSING pairs of a box and a class exceed."""
    seen = []
    inner = model.roi_heads.postprocess_detections

    def look(logits, *rest):
        seen.append(logits.softmax(-1)[:, 1:].flatten())
        return inner(logits, *rest)

    model.roi_heads.score_thresh = 2.0
    model.roi_heads.postprocess_detections = look
    model([image])
    model.roi_heads.postprocess_detections = inner
    return float(seen[0].topk(PASSING).values[-1])


def difference(found, expected):
    if not torch.equal(found["labels"], expected["labels"]):
        return f"{len(found['labels'])} detections, other labels or another order"
    boxes, scores, masks = ((found[k] - expected[k]).abs().max().item() for k in ("boxes", "scores", "masks"))
    return (f"{len(found['labels'])} detections, same labels, boxes {boxes:.1g} px, scores {scores:.1g}, "
            f"masks {masks:.1g}")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="800,1216", help="height,width")
    parser.add_argument("--torchvision-ops", metavar="LIBRARY")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torchvision = import_peers(torchvision_ops=options.torchvision_ops)["torchvision"]
    image = torch.rand(3, *map(int, options.size.split(",")), generator=_inputs.generator(0))
    theirs = peer(torchvision)
    passing = threshold(theirs, image)
    theirs.roi_heads.score_thresh = passing
    ours = maskrcnn_resnet50_fpn(box_score_thresh=passing).eval()
    ours.load_state_dict(theirs.state_dict())
    models = {"torchvision": theirs, "roikit": ours, "prepared": prepare_for_inference(ours),
              "prepared bf16": prepare_for_inference(ours, "bf16")}
    first = {name: model([image])[0] for name, model in models.items()}
    times = taken_in_turns({name: partial(model, [image]) for name, model in models.items()}, options.rounds)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, image {tuple(image.shape)}, "
          f"{options.rounds} rounds")
    print_beside("torchvision", times, {name: difference(found, first["torchvision"]) for name, found in first.items()})


if __name__ == "__main__":
    main()
