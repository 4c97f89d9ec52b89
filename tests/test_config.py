"""What the environment and the machine decide."""

import pytest

from roikit import _config


def device(folder, name, kind, features):
    (folder / name).mkdir(parents=True)
    (folder / name / "device").write_text(kind)
    (folder / name / "features").write_text(features)


@pytest.mark.parametrize("kind, features, expected", [
    ("0x0005\n", "0110010100000000\n", True),
    ("0x0005\n", "0110000100000000\n", False),  # a balloon that reports nothing
    ("0x0001\n", "0110010100000000\n", False),  # a network card
    ("", "", False),
])
def test_a_balloon_that_reports_free_pages_is_found(tmp_path, kind, features, expected):
    device(tmp_path, "virtio0", "0x0002\n", "1111111111111111\n")
    device(tmp_path, "virtio1", kind, features)
    assert _config._gives_free_memory_back(tmp_path) == expected


def test_machines_without_such_devices_keep_their_memory(tmp_path):
    assert not _config._gives_free_memory_back(tmp_path / "none")


@pytest.mark.parametrize("wish, expected", [("on", True), ("off", False)])
def test_huge_pages_by_the_environment(wish, expected, monkeypatch):
    monkeypatch.setenv("ROIKIT_HUGE_PAGES", wish)
    assert _config.huge_pages.__wrapped__() is expected


def test_contract_huge_pages(monkeypatch):
    monkeypatch.setenv("ROIKIT_HUGE_PAGES", "yes")
    with pytest.raises(ValueError, match="ROIKIT_HUGE_PAGES must be on or off, got 'yes'"):
        _config.huge_pages.__wrapped__()


@pytest.mark.parametrize("setting", ["on", "off"])
def test_results_do_not_depend_on_huge_pages(setting, run_python):
    assert run_python(f"""
import os
os.environ["ROIKIT_HUGE_PAGES"] = "{setting}"
import numpy as np, roikit, roikit.kernels
boxes = np.cumsum(np.random.default_rng(0).random((2000, 4), np.float32), 1)
out = np.empty((2000, 2000), np.float32)
roikit.kernels.box_iou(boxes, boxes, out=out)
print(out.sum(dtype=np.float64), roikit._config.huge_pages())
""").split()[1] == str(setting == "on")
