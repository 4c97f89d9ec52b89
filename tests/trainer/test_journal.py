"""The journal of a prediction: whatever bytes a killed process left, each image is there once."""

import json

import numpy as np
import pytest

from roikit.trainer.journal import Journal

ABOUT = {"weights": "ab", "score_threshold": 0.5}


def filled(path, names):
    journal = Journal(path, ABOUT)
    for number, name in enumerate(names, start=1):
        journal.add({"id": number, "file_name": name}, [{"score": number / 7}])
    journal.close()


def gone_on_with(path, names):
    """A second process: all that is missing is added; the file names in the order of the ids."""
    journal = Journal(path, ABOUT, resume=True)
    for number, name in enumerate(names, start=1):
        if name not in journal:
            journal.add({"id": number, "file_name": name}, [{"score": number / 7}])
    found = list(journal.images())
    journal.close()
    return found


@pytest.mark.parametrize("seed", range(30))
def test_law_a_journal_cut_anywhere_gives_each_image_once(tmp_path, seed):
    path, names = tmp_path / "journal.jsonl", [f"{k}.png" for k in range(12)]
    filled(path, names)
    whole = path.read_bytes()
    random = np.random.default_rng(seed)
    path.write_bytes(whole[:random.integers(len(whole) + 1)])
    found = gone_on_with(path, names)
    assert [record["file_name"] for record, _ in found] == names
    assert [results[0]["score"] for _, results in found] == [k / 7 for k in range(1, 13)]
    assert path.read_bytes() == whole


def test_law_a_line_that_is_damaged_costs_its_image_alone(tmp_path):
    path, names = tmp_path / "journal.jsonl", ["a", "b", "c"]
    filled(path, names)
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (b"\0" * 20 + b"\n", b'{"image": {}}\n', b"[]\n", b'{"image": {"file_name": "b", "id": 2}}\n'):
        path.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        assert [record["file_name"] for record, _ in gone_on_with(path, names)] == names


def test_contract_the_last_line_of_an_image_counts(tmp_path):
    journal = Journal(tmp_path / "j", ABOUT)
    journal.add_fault("a", 1, "cut")
    assert journal.faults == {"a": "cut"} and "a" not in journal and journal.ids == {"a": 1}
    journal.add({"id": 1, "file_name": "a"}, [])
    assert journal.faults == {} and "a" in journal and len(journal) == 1
    journal.close()
    again = Journal(tmp_path / "j", ABOUT, resume=True)
    assert again.faults == {} and "a" in again
    again.close()


def test_contract_results_of_other_options_are_not_mixed(tmp_path):
    filled(tmp_path / "j", ["a"])
    with pytest.raises(ValueError, match=r"made with score_threshold 0\.5, now it is 0\.6"):
        Journal(tmp_path / "j", {**ABOUT, "score_threshold": 0.6}, resume=True)
    assert len(Journal(tmp_path / "j", ABOUT, resume=True)) == 1
    for text in ("x\n", "{}\n", json.dumps({"journal": 2, "about": ABOUT}) + "\n"):
        (tmp_path / "j").write_text(text)
        with pytest.raises(ValueError, match="is no journal"):
            Journal(tmp_path / "j", ABOUT, resume=True)
        assert (tmp_path / "j").read_text() == text
    assert len(Journal(tmp_path / "j", ABOUT)) == 0  # what is not gone on with is begun anew


def test_contract_a_full_disk_is_a_sentence_and_keeps_what_was_found(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j", ABOUT)
    journal.add({"id": 1, "file_name": "a"}, [])

    class Full:
        def seek(self, place):
            pass

        def write(self, text):
            raise OSError(28, "No space left on device")

    file, journal._file = journal._file, Full()
    with pytest.raises(OSError, match=r"j cannot be written: No space left on device; what was found before is kept"):
        journal.add({"id": 2, "file_name": "b"}, [])
    journal._file = file
    assert [record["file_name"] for record, _ in journal.images()] == ["a"]
    journal.close()
