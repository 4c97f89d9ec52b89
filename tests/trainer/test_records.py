"""What a run writes down while it goes on."""

import io

import pytest

from roikit.trainer.progress import Progress, duration
from roikit.trainer.records import Records, draw_curves, read_records


def record(step, **more):
    return {"kind": "train", "step": step, "loss": 1.0 / step, "lr": 0.1, "loss_mask": 0.5,
            "seconds": 2.0, "data_seconds": 0.5, "images": 4, **more}


def test_law_records_come_back_and_resuming_drops_later_ones(tmp_path):
    first = Records(tmp_path)
    for step in (1, 2, 3):
        first.add(record(step))
    first.close()
    assert read_records(tmp_path / "log.jsonl") == [record(1), record(2), record(3)]
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"kind": "tr')  # cut off by a crash
    again = Records(tmp_path, step=2)
    again.add(record(3, loss=9.0))
    again.close()
    assert read_records(tmp_path / "log.jsonl") == [record(1), record(2), record(3, loss=9.0)]
    Records(tmp_path).close()
    assert read_records(tmp_path / "log.jsonl") == []


def test_contract_curves_are_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    records = [record(s) for s in range(1, 30)]
    records.append({"kind": "eval", "step": 29, "segm/AP": 0.5, "bbox/AP50": 0.75})
    for name, some in (("full", records), ("empty", [])):
        draw_curves(some, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_contract_plain_lines_tell_eta_loss_speed_and_waiting():
    stream = io.StringIO()
    progress = Progress(10, stream=stream, every=0.0)
    for step in (1, 2, 3):
        progress.step(record(step))
    progress.say("hello")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[2] == "step  3/10  eta 0:14  loss 0.6111  lr 0.1  2.00 img/s  data 25%"
    assert lines[3] == "hello"
    quiet = Progress(10, show=False, stream=stream)
    quiet.step(record(1))
    assert stream.getvalue().splitlines() == lines


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03")])
def test_agreement_of_durations(seconds, text):
    assert duration(seconds) == text
