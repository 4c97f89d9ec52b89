"""Golden files: what another library detects with weights that are functions of their names, and how near is the same.

    golden = load("detectron2/mask_rcnn_R_50_FPN_3x")
    write_peer_file(golden, folder / "model.pkl")
    model = detectron2_model(golden.name, folder / "model.pkl", **golden.changes)
    assert_same(model([torch.from_numpy(golden.image())])[0], golden)
"""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from weights import draw, picture

from roikit.masks import decode

__all__ = ["BOUNDS", "DETECTIONS", "PANOPTIC", "PIXELS", "Golden", "assert_same", "load", "save", "write_peer_file"]

DETECTIONS = 50  # of an image at most
FOLDER = Path(__file__).parent
# Largest difference; masks: the part of the pixels set that may differ, over all masks of the image.
BOUNDS = {"boxes": 0.01, "scores": 1e-5, "mask_scores": 1e-5, "keypoints": 0.01, "keypoints_scores": 1e-5,
          "masks": 1e-4}
# The part of an image's pixels that must agree.
PIXELS = {"classes": 0.9999, "panoptic": 0.9999}
# Thresholds of the merge, for scores of random weights and a small picture.
PANOPTIC = {"score_threshold": 0.15, "overlap_threshold": 0.5, "stuff_area": 500}


@dataclass(frozen=True)
class Golden:
    """One model on one picture.

    Attributes:
        library: "detectron2", "mmdetection" or "yolact", whose network takes its picture at 550 x 550.
        name: what the library calls the model.
        seed: of the weights and of the picture.
        size: (height, width) of the picture. The library's model got it unresized, padded as it pads.
        shapes: {name: shape} of the library's state dict, without constants (pixel means, anchors).
        factors: {name of a weight: what multiplied it}.
        arrays: the detections, by falling score of the box: boxes (D, 4) float32 xyxy in pixels; scores (D,) float32;
            labels (D,) int64 as the library counts, from 0; where there are any: mask_scores (D,), keypoints
            (D, K, 2), keypoints_scores (D, K). Where there are losses: gt_boxes (G, 4), gt_labels (G,) from 0 and
            proposals (P, 4), so few that a sampler takes all. With a semantic head: semantic (H, W) uint8, the true
            classes, 255 not counted; semantic_logits and semantic_embedding of the padded picture, each at
            [0, ::16, ::4, ::4]. Of things and stuff: panoptic (H, W) uint8 ids, segments (S, 4) int64 rows of id,
            whether a thing, category as the library counts, index of the detection or -1; classes (H, W) uint8.
        masks: D COCO RLE dicts, or None.
        facts: losses {name: value as the library weights it} of all that follows the proposals; gt_masks, G RLE dicts.
    """

    library: str
    name: str
    seed: int
    size: tuple[int, int]
    shapes: dict[str, list[int]]
    factors: dict[str, float]
    arrays: dict[str, np.ndarray]
    masks: list[dict] | None = None
    facts: dict = field(default_factory=dict)

    @property
    def changes(self):
        """What a model is asked besides its name: not to resize the picture, and as many detections as here."""
        return {"min_size": min(self.size), "max_size": 2 * max(self.size), "detections_per_image": DETECTIONS}

    def image(self):
        """(3, H, W) float32 in [0, 1], RGB."""
        return picture(*self.size, self.seed).astype(np.float32) / np.float32(255)

    def state_dict(self):
        """{name: NumPy array} as the library has it."""
        return draw(self.shapes, self.seed, self.factors)


def load(name):
    """The golden file `name`, a path below this folder without suffix."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    facts = json.loads(arrays.pop("golden").tobytes())
    return Golden(arrays=arrays, **{**facts, "size": tuple(facts["size"])})


def save(golden):
    """Write `golden` below this folder, under the last part of its name."""
    facts = {key: value for key, value in vars(golden).items() if key != "arrays"}
    text = np.frombuffer(json.dumps(facts, separators=(",", ":")).encode(), dtype=np.uint8)
    path = FOLDER / golden.library / f"{golden.name.rsplit('/', 1)[-1]}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, golden=text, **golden.arrays)
    return path


def write_peer_file(golden, path):
    """The weights at `path` as the library publishes its own: a pickle of NumPy arrays, or a file of torch.save."""
    arrays = golden.state_dict()
    if golden.library == "detectron2":
        with open(path, "wb") as file:
            pickle.dump({"model": arrays, "__author__": "golden"}, file, protocol=4)
        return
    import torch
    state = {name: torch.from_numpy(x) for name, x in arrays.items()}
    torch.save(state if golden.library == "yolact" else {"meta": {}, "state_dict": state}, path)


def _bitmaps(masks):
    """(D, H, W) bool of a list of RLE dicts, or of soft or hard masks (D, 1, H, W) or (D, H, W)."""
    if isinstance(masks, list):
        return decode(masks).transpose(2, 0, 1).astype(bool)
    masks = np.asarray(masks)
    masks = masks[:, 0] if masks.ndim == 4 else masks
    return masks if masks.dtype == bool else masks >= 0.5


def _hard(masks, golden):
    """Bitmaps; YOLACT's are inside above a half, and often exactly a half."""
    if golden.library == "yolact" and not isinstance(masks, list):
        return np.asarray(masks)[:, 0] > 0.5
    return _bitmaps(masks)
def _rows(segments, scores):
    """Segments as golden files have them. Categories of stuff follow those of things here, of which COCO has 80;
    detectron2 counts each kind by itself."""
    if not isinstance(segments, list):
        return segments
    return [[one["id"], one["isthing"], one["category"] - (1 if one["isthing"] else 80),
             list(scores).index(one["score"]) if one["isthing"] else -1] for one in segments]


def assert_same(detections, golden):
    """roikit's detections of one image (labels from 1) are those of the golden file, within BOUNDS."""
    expected = golden.arrays
    found = {key: value if isinstance(value, list) else np.asarray(value) for key, value in detections.items()}
    assert len(found["boxes"]) == len(expected["boxes"]), (len(found["boxes"]), len(expected["boxes"]))
    np.testing.assert_array_equal(found["labels"], expected["labels"] + 1)
    for key in ("boxes", "scores", "mask_scores", "keypoints_scores"):
        if key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=BOUNDS[key], err_msg=key)
    if "keypoints" in expected:
        np.testing.assert_allclose(found["keypoints"][..., :2], expected["keypoints"], rtol=0,
                                   atol=BOUNDS["keypoints"], err_msg="keypoints")
    if "segments" in expected:
        np.testing.assert_array_equal(_rows(found["segments"], found["scores"]), expected["segments"])
        for key, part in PIXELS.items():
            same = (found[key] == expected[key]).mean()
            assert same >= part, f"{same:.6f} of the pixels of {key} agree"
    if golden.masks is not None:
        ours, theirs = _hard(found["masks"], golden), _bitmaps(golden.masks)
        wrong, pixels = int((ours ^ theirs).sum()), int(theirs.sum())
        assert wrong <= BOUNDS["masks"] * pixels, f"{wrong} of {pixels} pixels of masks differ"
