"""Systems other than upright two-stage detectors through the trainer: runs that stop and go on, and two processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import roikit
from roikit.trainer import checkpoint, evaluate, train
from roikit.trainer.records import read_records

from .test_panoptic import MODEL as PANOPTIC
from .test_segmentation import MODEL as SEGMENTER

for library in ("yaml", "PIL", "matplotlib", "safetensors", "pycocotools"):
    pytest.importorskip(library)

pytestmark = pytest.mark.filterwarnings("ignore:evaluate. AP is exactly 0")

HOME = Path(roikit.__file__).resolve().parents[1]  # of the roikit that is tested, installed or not
YOLACT = {"image": {"resize": False, "size_divisible": 1},
          "backbone": {"name": "resnet18", "norm": "group", "levels": ["c3", "c4", "c5"], "fpn_channels": 8,
                       "fpn_norm": "group", "fpn_extra": "conv", "fpn_upsample": "bilinear", "fpn_relu": True},
          "box": {"background_iou": 0.4, "box_beta": 1.0, "score_threshold": 0.0, "detections_per_image": 10,
                  "selection": {"kind": "fast_nms"}},
          "dense": {"prior_sizes": [[4], [8], [16], [32], [64]], "prototypes": 4, "proto_layers": [8],
                    "proto_fine_layers": [8], "norm": "group"}}
ROTATED = {**{name: value for name, value in PANOPTIC.items() if name != "panoptic"}, "boxes": "rotated",
           "rpn": {**PANOPTIC["rpn"], "angles": [-90, -60, -30], "rounded_anchors": False, "anchor_order": "size"},
           "box": {**PANOPTIC["box"], "aligned": True, "regression_weights": [10.0, 10.0, 5.0, 5.0, 1.0]},
           "mask": {**PANOPTIC["mask"], "aligned": True, "target_rule": "binary", "paste_rule": "continuous"}}
# Nothing of it is drawn, so that processes learn what one process with their images learns. GroupNorm of single values,
# those of a channel on a map of one pixel, would give rounding a factor of 300.
STILL = {**SEGMENTER, "backbone": {**SEGMENTER["backbone"], "fpn_norm": "none"},
         "head": {**SEGMENTER["head"], "dropout": 0.0, "norm": "none"}}
SYSTEMS = {"segmenter": STILL, "panoptic": PANOPTIC, "yolact": YOLACT, "rotated": ROTATED}


@pytest.fixture
def settings(squares):
    """A few steps over the squares, but for the model."""
    part = dict(zip(("annotations", "images"), map(str, squares), strict=True))
    return {"data": {"train": part, "val": part, "batch_size": 2}, "augment": {"rotate": True},
            "optimizer": {"lr": 0.002, "ema": 0.9}, "schedule": {"steps": 3},
            "run": {"predictions": 1, "device": "cpu", "doctor": False, "seed": 5}}


@pytest.mark.parametrize("name", ["yolact", "rotated"])
def test_law_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(same, settings, name, tmp_path):
    def stop(record):
        if record["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    run = {**settings, "model": SYSTEMS[name]}
    train(run, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="stopped at step 2 of 3"):
        train(run, out=tmp_path / "parts", on_step=stop)
    train(None, out=tmp_path / "parts", resume=True)
    same(*(checkpoint.load(tmp_path / part / "last.pt") for part in ("whole", "parts")))


SCRIPT = """
import json, os, sys, warnings
import torch
import torch.distributed as dist
import torch.distributed.nn.functional
from roikit import train
from roikit.errors import RoikitWarning

warnings.simplefilter("ignore", RoikitWarning)
runs, out = json.load(open(sys.argv[1])), sys.argv[2]
told = {}
dist.init_process_group("gloo")  # the caller's group serves every run, and stays the caller's
for name, settings in runs.items():
    losses = []
    metrics = train(settings, out=f"{out}/{name}", on_step=lambda record: losses.append(record["loss"]))
    told[name] = {"metrics": json.dumps(metrics), "losses": losses}
    assert dist.is_initialized()
dist.destroy_process_group()
torch.save(told, f"{out}/told-{os.environ['RANK']}.pt")
"""


def test_law_two_processes_train_and_evaluate_as_one(settings, tmp_path):
    """All agree; what they evaluated in shares has the figures of one process, and a segmenter learns as in one."""
    runs = {name: {**settings, "model": model} for name, model in SYSTEMS.items()}
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(tmp_path / "script.py"), str(tmp_path / "runs.json"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}, capture_output=True, text=True,
        timeout=600)
    assert done.returncode == 0, done.stderr
    told = [torch.load(tmp_path / f"told-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert told[0] == told[1]
    for name in runs:
        metrics, out = json.loads(told[0][name]["metrics"]), tmp_path / name
        assert len(told[0][name]["losses"]) == 3
        assert [r["loss"] for r in read_records(out / "log.jsonl") if r["kind"] == "train"] == told[0][name]["losses"]
        again = evaluate(out / "last.pt")
        kinds = again.keys() & {"panoptic", "semantic", "bbox", "rbox", "segm"}
        assert kinds and {kind: again[kind] for kind in kinds} == {kind: metrics[kind] for kind in kinds}, name
        if name != "segmenter":
            places = [r["image_id"] for r in json.loads((out / "detections.json").read_text())]
            assert places == sorted(places) and len(set(places)) > 3, name
    train(runs["segmenter"], out=tmp_path / "one")
    losses = [r["loss"] for r in read_records(tmp_path / "one" / "log.jsonl") if r["kind"] == "train"]
    assert losses == pytest.approx(told[0]["segmenter"]["losses"], rel=1e-5)
