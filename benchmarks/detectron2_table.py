"""Times detectors of detectron2's model zoo on a CPU: its own, roikit's, and roikit's prepared in float32 and bf16.

    python -m benchmarks.detectron2_table [--models NAME ...] [--training] [--threads 2] [--rounds 5] [--size 800,1216]

Both have the same random weights and get the same image. The box predictor's weights are drawn so, and the score
threshold set so, that some 400 pairs of a box and a class pass, about as many as with trained weights. With --training
a step on two images with 8 objects each, SGD with momentum, is timed in place of a detection. The models take turns, so
that noise hits them alike; printed are each model's median, 10th to 90th percentile, the median of the ratios of
detectron2's time to its time in the same round, and how its detections differ from detectron2's. Lines with # are
single rounds. detectron2, with its compiled module, must be importable.
"""

import argparse
import pickle
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch

from roikit.models import detectron2_model, prepare_for_inference

from . import _inputs
from .gpu_step import scenes
from .turns import print_beside, taken_in_turns

MODELS = ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x",
          "Misc/cascade_mask_rcnn_R_50_FPN_3x", "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x")
PASSING = 400


def peer(name):
    """detectron2's model with random weights: small residual branches, and a box head whose scores are spread."""
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    config = model_zoo.get_config(f"{name}.yaml")
    config.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = build_model(config)
    for key, module in model.named_modules():
        if key.endswith("conv3.norm"):
            # Without trained statistics activations would otherwise grow by orders of magnitude.
            module.weight.fill_(0.2)
        elif key.endswith("cls_score"):
            torch.nn.init.normal_(module.weight, std=0.02)
    return model


def passing_score(model, batch):
    """The score that PASSING pairs of a box and a class exceed."""
    from detectron2.modeling.roi_heads import cascade_rcnn, fast_rcnn

    seen, inner = [], fast_rcnn.fast_rcnn_inference

    def look(boxes, scores, *rest):
        seen.append(scores[0][:, :-1].flatten())
        return inner(boxes, scores, *rest)

    for module in (cascade_rcnn, fast_rcnn):
        module.fast_rcnn_inference = look
    model(batch)
    for module in (cascade_rcnn, fast_rcnn):
        module.fast_rcnn_inference = inner
    return float(seen[0].topk(min(PASSING, len(seen[0]) // 2)).values[-1])


def set_threshold(model, score):
    predictors = model.roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, torch.nn.ModuleList) else [predictors]:
        predictor.test_score_thresh = score


def counterpart(name, model, **changes):
    """roikit's detector of that name, with the weights of detectron2's `model`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pkl"
        state = {key: value.numpy() for key, value in model.state_dict().items()}
        path.write_bytes(pickle.dumps({"model": state, "__author__": "benchmarks.detectron2_table"}))
        return detectron2_model(name, weights=path, **changes)


def difference(found, expected):
    theirs = expected["instances"]
    if not torch.equal(found["labels"] - 1, theirs.pred_classes):
        return f"{len(found['labels'])} detections, {len(theirs)} of detectron2's, not the same or not in order"
    boxes = (found["boxes"] - theirs.pred_boxes.tensor).abs().max().item()
    scores = (found["scores"] - theirs.scores).abs().max().item()
    return f"{len(found['labels'])} detections, same labels, boxes {boxes:.1g} px, scores {scores:.1g}"


@torch.no_grad()
def detectors(name, size):
    """name -> (function, what it says of its first result)."""
    image = torch.rand(3, *size, generator=_inputs.generator(0))
    theirs = peer(name).eval()
    batch = [{"image": (image * 255).flip(0), "height": size[0], "width": size[1]}]
    score = passing_score(theirs, batch)
    set_threshold(theirs, score)
    ours = counterpart(name, theirs, score_threshold=score, min_size=min(size), max_size=max(size)).eval()
    if hasattr(ours, "mask_format"):
        ours.mask_format = "bool"
    models = {"roikit": ours, "prepared": prepare_for_inference(ours)}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        models["prepared bf16"] = prepare_for_inference(ours, "bf16")
    expected = theirs(batch)[0]
    works = {"detectron2": (lambda: theirs(batch), f"{len(expected['instances'])} detections")}
    for key, model in models.items():
        works[key] = (lambda model=model: model([image]), difference(model([image])[0], expected))
    return works


def annotated(images, targets, keypoints):
    """The images as detectron2's models take them when they learn."""
    from detectron2.structures import BitMasks, Boxes, Instances, Keypoints

    batch = []
    for image, target in zip(images, targets, strict=True):
        own = Instances(tuple(image.shape[1:]))
        own.gt_boxes, own.gt_classes = Boxes(target["boxes"]), target["labels"] - 1
        own.gt_masks = BitMasks(target["masks"].bool())
        if keypoints:
            own.gt_keypoints = Keypoints(target["keypoints"])
        batch.append({"image": (image * 255).flip(0), "instances": own})
    return batch


def trainings(name, size):
    """As `detectors`, of training steps."""
    images, targets = scenes(size, 8, classes=81)
    theirs = peer(name).train()
    keypoints = "keypoint" in name
    if keypoints:
        for target in targets:
            target["labels"] = torch.ones_like(target["labels"])
            corner, far = target["boxes"][:, None, :2], target["boxes"][:, None, 2:]
            share = torch.rand(len(corner), 17, 2, generator=_inputs.generator(1))
            target["keypoints"] = torch.cat((corner + share * (far - corner), torch.full((len(corner), 17, 1), 2.0)), 2)
    ours = counterpart(name, theirs, min_size=min(size), max_size=max(size)).train()
    batch = annotated(images, targets, keypoints)
    works = {}
    for key, model, arguments in (("detectron2", theirs, (batch,)), ("roikit", ours, (images, targets))):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-5, momentum=0.9)

        def step(model=model, arguments=arguments, optimizer=optimizer):
            loss = sum(model(*arguments).values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        works[key] = (step, f"loss {step():.4f}")
    return works


def storage(training):
    """Where detectron2's models write what they count as they learn."""
    if not training:
        return nullcontext()
    from detectron2.utils.events import EventStorage

    return EventStorage()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", help="height,width; default 800,1216, in training 512,512")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = tuple(map(int, (options.size or ("512,512" if options.training else "800,1216")).split(",")))
    for name in options.models:
        with storage(options.training):
            measure(name, size, options)


def measure(name, size, options):
    works = (trainings if options.training else detectors)(name, size)
    with torch.set_grad_enabled(options.training):
        times = taken_in_turns({key: work for key, (work, _) in works.items()}, options.rounds)
    print(f"{name}: {'training step on 2 images' if options.training else 'one image'} of {size[0]} x {size[1]}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, {options.rounds} rounds")
    print_beside("detectron2", times, {key: words for key, (_, words) in works.items()})


if __name__ == "__main__":
    main()
