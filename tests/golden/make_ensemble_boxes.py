"""Makes ensemble_boxes.npz beside this file: boxes of several models, and what ensemble-boxes 1.0.9 fuses of them.

    python -m venv peer && peer/bin/pip install ensemble-boxes==1.0.9
    peer/bin/python tests/golden/make_ensemble_boxes.py
"""

import itertools
import json
import warnings
from pathlib import Path

import ensemble_boxes
import numpy as np

MODELS, OBJECTS, WEIGHTS = 4, 14, [2.0, 1.0, 0.5, 1.5]
CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")


def scene(seed):
    """Boxes of side 1 at most, their scores, classes and models; the last model finds nothing, another finds twice."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0.05, 0.6, (OBJECTS, 2)), rng.uniform(0.08, 0.3, (OBJECTS, 2))
    objects = np.concatenate([corner, corner + side], 1)
    labels = rng.integers(0, 3, OBJECTS)
    rows = [(which, model) for which, model in itertools.product(range(OBJECTS), (0, 1, 1, 2)) if rng.random() < 0.8]
    which, models = np.array(rows).T
    boxes = objects[which] + 0.06 * np.tile(side, 2)[which] * rng.standard_normal((len(rows), 4))
    boxes[3] = boxes[3][[2, 1, 0, 3]]
    boxes[5, 2] = boxes[5, 0]
    scores = rng.permutation(np.linspace(0.05, 0.97, len(rows)))
    return boxes.clip(0, 1).round(6), scores.round(6), labels[which], models


def fuse(boxes, scores, labels, models, options):
    parts = [[x[models == model] for model in range(MODELS)] for x in (boxes, scores, labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of what it swaps and drops
        return ensemble_boxes.weighted_boxes_fusion(*parts, **options)


def main():
    found, cases = {}, []
    for seed in range(2):
        given = scene(seed)
        found |= {f"{name}_{seed}": x for name, x in zip(("boxes", "scores", "labels", "models"), given, strict=True)}
        kinds = [*CONF_TYPES, "overflowing"]
        options = [{"conf_type": "avg" if kind == "overflowing" else kind, "weights": weights, "iou_thr": iou,
                    "skip_box_thr": skip, "allows_overflow": kind == "overflowing"}
                   for kind in kinds for weights in (None, WEIGHTS) for iou, skip in ((0.55, 0.0), (0.4, 0.2))]
        for option in options:
            fused = fuse(*given, option)
            assert np.diff(np.sort(fused[1])).min() > 1e-5, "equal scores, which it leaves to chance"
            found |= {f"{name}_of_{len(cases)}": x.astype(np.float32)
                      for name, x in zip(("boxes", "scores", "labels"), fused, strict=True)}
            cases.append({"seed": seed, **option})
    found["cases"] = np.array(json.dumps(cases))
    np.savez_compressed(Path(__file__).with_name("ensemble_boxes.npz"), **found)


if __name__ == "__main__":
    main()
