"""Detections of other libraries' models, from the same weights: golden files made beside those libraries.

`tests/golden` has the scripts and says what is in a file.
"""

import pickle
import sys
from pathlib import Path

import pytest
import torch

from roikit.models import detectron2_model, mmdetection_model, save_checkpoint

FOLDER = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(FOLDER))

from compare import assert_same, load, write_peer_file  # noqa: E402

FILES = sorted(str(path.relative_to(FOLDER).with_suffix("").as_posix()) for path in FOLDER.rglob("*.npz"))


def test_there_are_files_of_both_libraries():
    assert {name.split("/")[0] for name in FILES} == {"detectron2", "mmdetection"}


@pytest.mark.parametrize("file", FILES)
def test_the_other_library_detects_the_same(file, tmp_path):
    golden = load(file)
    door, path = ((detectron2_model, tmp_path / "model.pkl") if golden.library == "detectron2" else
                  (mmdetection_model, tmp_path / "model.pth"))
    write_peer_file(golden, path)
    model = door(golden.name, path, **golden.changes).eval()
    with torch.no_grad():
        assert_same(model([torch.from_numpy(golden.image())])[0], golden)
    if golden.library == "detectron2":
        # What is written again is, name by name and bit by bit, what detectron2 gave.
        save_checkpoint(model, tmp_path / "again.pkl", "detectron2")
        again = pickle.loads((tmp_path / "again.pkl").read_bytes())["model"]
        theirs = golden.state_dict()
        assert set(again) == {name for name in theirs if not name.endswith("num_batches_tracked") or name in again}
        assert all((again[name] == theirs[name]).all() and again[name].shape == theirs[name].shape for name in again)
