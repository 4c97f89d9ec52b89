"""Large annotation files: what is read in pieces and kept in columns is what the reader of small files has."""

import functools
import json
import os
import pickle
import shutil
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import masks as rle
from roikit.data import CocoDataset, annotations, inspect_dataset
from roikit.data.annotations import load_annotations
from roikit.data.records import are_plain_images, fault_of
from roikit.data.store import cache, reading
from roikit.data.store.columns import Builder
from roikit.data.store.pieces import pieces_of
from roikit.data.store.records import Records
from roikit.errors import RoikitWarning
from roikit.trainer.truth import objects_of, read_truth

from .messy_sets import Messy
from .test_messy import CASES

HUGE = 2**70 + 1
NUMBERS = st.one_of(st.integers(-3, 700), st.floats(-5, 700).map(lambda v: round(v, 2)))
ODD_NUMBERS = st.sampled_from([None, True, "7", "7.5", "bolt", float("nan"), HUGE, 2**53 + 1, -0.0, 1e300, [], {}])
IDS = st.one_of(st.integers(1, 9), st.sampled_from(["3", 4.0, HUGE, None, "bolt", 2**63, -2**63]))
RINGS = st.lists(st.lists(NUMBERS, min_size=6, max_size=10), min_size=1, max_size=3)
ODD_RINGS = st.recursive(st.one_of(NUMBERS, ODD_NUMBERS), lambda some: st.lists(some, max_size=4), max_leaves=12)
CODES = st.fixed_dictionaries({"size": st.sampled_from([[96, 96], [95, 96], ["96", 96], [96], [96, HUGE]]),
                               "counts": st.sampled_from(["0n0", "zz", "", "b'0n0'", "\xe9", [0, 4], None])})
BITMAPS = np.zeros((3, 96, 96), np.uint8)
BITMAPS[0, 3:9, 5:50], BITMAPS[1, 95, 95] = 1, 1  # and one without a pixel
RLES = st.sampled_from([{"size": [96, 96], "counts": rle.encode(np.asfortranarray(bitmap))["counts"].decode()}
                        for bitmap in BITMAPS])
PLAIN = st.fixed_dictionaries({
    "id": st.integers(0, 9), "image_id": st.integers(1, 4), "category_id": st.integers(1, 2),
    "iscrowd": st.sampled_from([0, 0, 0, 1]), "area": NUMBERS, "bbox": st.lists(NUMBERS, min_size=4, max_size=4),
    "segmentation": st.one_of(RINGS, RINGS, RLES)})
ODD = st.fixed_dictionaries({}, optional={
    "id": IDS, "image_id": IDS, "category_id": IDS, "iscrowd": st.one_of(st.integers(0, 2), ODD_NUMBERS),
    "area": st.one_of(NUMBERS, ODD_NUMBERS), "bbox": st.one_of(st.lists(NUMBERS, max_size=5), ODD_RINGS),
    "segmentation": st.one_of(RINGS, ODD_RINGS, CODES), "note }, {": st.one_of(st.text(max_size=5), ODD_NUMBERS)})
MIXED = st.builds(lambda plain, odd: {**plain, **odd}, PLAIN, ODD)
LISTS = st.lists(st.one_of(PLAIN, PLAIN, MIXED, ODD, st.sampled_from([None, 3, "}, {", [{}]])), max_size=12)
LAYOUTS = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def whole(path):
    taken = Counter()
    return load_annotations(path, taken=taken, large=None), taken


def stored(path):
    taken = Counter()
    return load_annotations(path, taken=taken, large=1), taken


def alike(content, other):
    """Whether two contents are equal, NaN to NaN."""
    return repr(as_floats({**content, "annotations": list(content["annotations"])})) == repr(as_floats(other))


def as_floats(value):
    """Whole numbers and floats that are equal look alike, and so do dicts in another order."""
    if isinstance(value, dict):
        return {name: as_floats(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [as_floats(one) for one in value]
    return int(value) if type(value) is float and value.is_integer() else value


@pytest.fixture
def large(monkeypatch):
    """Every file is a large one."""
    monkeypatch.setitem(annotations.load_annotations.__kwdefaults__, "large", 1)


@pytest.fixture
def file(tmp_path):
    return Messy(tmp_path).write()


@given(LISTS, LAYOUTS, st.integers(1, 4000), st.permutations(["info", "images", "categories", "annotations"]),
       st.sampled_from(["orjson", "json"]))
def test_law_columns_hold_what_the_reader_of_small_files_has(tmp_path_factory, records, layout, size, order, parser):
    content = {"images": [{"id": 1, "file_name": "\xe9 }, {.png", "height": 96.0, "width": 96}, {"id": HUGE}],
               "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}], "info": {"a": [{}]},
               "annotations": records}
    path = tmp_path_factory.mktemp("store") / "a.json"
    path.write_text(json.dumps({name: content[name] for name in order}, **layout), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "pieces_of", functools.partial(pieces_of, size=size))
        if parser == "json":
            patch.setattr("roikit.data.store.pieces.orjson", None)
        told, taken = whole(path)
        for _ in range(2):  # the second time from the cache
            found, counts = stored(path)
            assert alike(found, told) and counts == taken
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(("edit", "objects", "ap", "cause", "mended"), CASES)
def test_law_of_messy_sets_all_that_read_them_have_the_same(tmp_path, monkeypatch, edit, objects, ap, cause, mended):
    messy = Messy(tmp_path)
    edit(messy.content)
    learnt, told, scored = samples(messy), messy.told(), messy.scored()
    monkeypatch.setitem(annotations.load_annotations.__kwdefaults__, "large", 1)
    assert samples(messy) == learnt and messy.told() == told and messy.scored() == scored


@pytest.mark.filterwarnings("ignore:evaluate")
@given(st.one_of(LISTS, st.lists(st.one_of(PLAIN, PLAIN, MIXED), max_size=8)))
def test_law_evaluation_has_the_same_objects_out_of_columns(tmp_path_factory, records):
    content = {"images": [{"id": k, "file_name": f"{k}.png", "height": 96, "width": 96} for k in (3, 1, 2)],
               "categories": [{"id": 2, "name": "bolt"}, {"id": 1, "name": "nut"}], "annotations": records}
    path = tmp_path_factory.mktemp("store") / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for kind in ("bbox", "segm", "rbox"):
        expected, found = (evaluated(reader(path)[0], kind) for reader in (whole, stored))
        assert found == expected
    shutil.rmtree(path.parent)


@given(st.lists(st.one_of(
    st.fixed_dictionaries({"id": st.integers(-3, 9), "file_name": st.sampled_from(["1.png", "a b", "..", "a/b.png"]),
                           "height": st.integers(0, 2**16), "width": st.integers(1, 9)}),
    st.fixed_dictionaries({}, optional={"id": IDS, "file_name": ODD_NUMBERS, "height": NUMBERS, "width": IDS})),
    max_size=3))
def test_law_images_that_are_plain_at_once_have_no_fault(records):
    assert not are_plain_images(records) or all(fault_of(record, "image") is None for record in records)


def test_images_are_plain_at_once():
    record = {"id": 1, "file_name": "1.png", "height": 2, "width": 3}
    assert are_plain_images([]) and are_plain_images([record, {**record, "id": 2, "license": 1}])
    for odd in ({"id": 2**63}, {"id": True}, {"file_name": ""}, {"file_name": "."}, {"file_name": "\xe9.png"},
                {"height": 0}, {"width": 2**16}, {"width": 3.0}):
        assert not are_plain_images([record, {**record, **odd}])


@given(LISTS)
def test_law_what_was_read_is_read_again_as_it_is(records):
    content = {"images": [{"id": 1, "file_name": "1.png", "height": 96.0, "width": 96}, {"id": HUGE}],
               "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}], "annotations": records}
    once = load_annotations(content)
    assert alike(load_annotations(once), once)


def evaluated(content, kind):
    """The objects that evaluation compares, as text; or the sentence with which they are refused."""
    try:
        found, reasons = objects_of(read_truth(content), kind)
    except ValueError as error:
        return str(error)
    masks = None if found.masks is None else [found.masks[k] for k in range(len(found))]
    return repr((found.images.tolist(), found.categories.tolist(), (found.boxes + 0.0).tolist(),
                 (found.areas + 0.0).tolist(), found.crowds.tolist(), masks,
                 None if found.rotated is None else found.rotated.tolist(), sorted(reasons.items())))


def samples(messy):
    """All that a data set gives, as text; or the sentence with which it is refused."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RoikitWarning)
        try:
            dataset = CocoDataset(messy.write(), messy.images, keep_empty=False)
        except ValueError as error:
            return str(error)
        found = [dataset.sample(k)._asdict() if hasattr(dataset.sample(k), "_asdict") else vars(dataset.sample(k))
                 for k in range(len(dataset))]
    return repr([str(w.message) for w in said]) + repr([{name: plain(v) for name, v in one.items()} for one in found])


def plain(value):
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tolist() if value.size < 1000 else hash(value.tobytes())
    return [plain(one) for one in value] if isinstance(value, list) else value


@given(st.lists(st.one_of(PLAIN, MIXED), max_size=30), st.booleans())
def test_law_objects_out_of_columns_are_those_out_of_records(tmp_path_factory, records, empty):
    folder = tmp_path_factory.mktemp("store")
    messy = Messy(folder)
    messy.content["annotations"] += records
    path = messy.write()
    found = []
    for least in (None, 1):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", RoikitWarning)
            patch.setitem(annotations.load_annotations.__kwdefaults__, "large", least)
            try:
                data = CocoDataset(path, messy.images, keep_empty=empty)
            except ValueError as error:
                found.append(str(error).lower())
                continue
            objects = data._objects
            found.append((data.image_ids, data.num_objects, objects.starts.tolist(), objects.crowd.tolist(),
                          objects.boxes.tolist(), objects.labels.tolist(), objects.area.tolist(),
                          [str(w.message) for w in said],
                          [plain(objects.mask(k, 96, 96)) for k in range(len(objects.crowd))] if data.has_masks else 0))
    assert found[0] == found[1]
    shutil.rmtree(folder)


def test_a_list_may_end_anywhere_in_a_piece(tmp_path):
    """A piece that reaches over the end of its list, and elements longer than a piece."""
    path = tmp_path / "a.json"
    content = {"a": [{"x": k} for k in range(3)], "b": [{"y": {"z": "}" * 50}, "l": [{}, {}]}] * 7, "c": 12, "d": []}
    path.write_text(json.dumps(content))
    for size in (1, 8, 20, 100, 1000):
        found = {}
        for key, value, again in pieces_of(path, size):
            assert again is None or again() == value
            found[key] = found.get(key, []) + value if again else value
        assert found == content


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": [{}, ]}', '{"a": [{}]} x', '{"a": [{}', '{"a": 1, "a": 2}',
                                  "{1: 2}", '{"a": [{}] "b": 1}', '{"a": [{"b": 01}]}', '{"a": tru}'])
def test_what_is_no_object_of_json_is_not_read_in_pieces(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        list(pieces_of(path))


def test_a_broken_file_is_refused_in_the_words_of_the_reader_of_small_ones(file, large):
    file.write_text(file.read_text()[:-40])
    with pytest.raises(ValueError, match="is not JSON"):
        load_annotations(file)
    assert not os.path.exists(f"{file}.roikit")


def test_small_files_get_no_cache(file):
    load_annotations(file)
    assert sorted(os.listdir(file.parent)) == ["annotations.json", "images"]


def test_a_cache_is_used_the_second_time(file, monkeypatch):
    found, taken = stored(file)
    assert isinstance(found["annotations"], Records) and os.path.exists(f"{file}.roikit")
    monkeypatch.setattr(reading, "pieces_of", None)  # who reads the file fails
    again, counts = stored(file)
    assert alike(again, {**found, "annotations": list(found["annotations"])}) and counts == taken


def _edited(path, keep_times):
    before = path.stat()
    text = path.read_text()
    place = text.index('"bbox": [') + len('"bbox": [')
    path.write_text(text[:place] + ("3" if text[place] != "3" else "4") + text[place + 1:])
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_cache_of_another_content_is_made_anew(file, keep_times):
    """A digit is another one: the size is the same, and the time may be."""
    before = list(stored(file)[0]["annotations"])
    found = stored(_edited(file, keep_times))[0]
    assert alike(found, whole(file)[0]) and list(found["annotations"]) != before


def test_a_file_that_was_touched_keeps_its_cache(file, monkeypatch):
    stored(file)
    os.utime(file, ns=(5, 5))
    monkeypatch.setattr(reading, "pieces_of", None)
    stored(file)
    monkeypatch.setattr(cache, "_content", None)  # the new times are known
    stored(file)


def test_a_damaged_cache_is_made_anew(file):
    told = whole(file)[0]
    stored(file)
    kept = cache.places_of(file)[0]
    sound = kept.read_bytes()
    rng = np.random.default_rng(0)
    places = [0, 25, 40, 80, *rng.integers(cache._ROOM, len(sound), 12).tolist()]
    damaged = [sound[:p] + bytes([sound[p] ^ 1 << int(rng.integers(8))]) + sound[p + 1:] for p in places]
    damaged += [sound[:n] for n in (0, 10, 100, cache._ROOM, cache._ROOM + 8, len(sound) - 1, len(sound) - 64)]
    for content in [*damaged, sound + bytes(64), b"x" * 100]:
        kept.write_bytes(content)
        assert cache.open_cache(file) is None
        assert alike(stored(file)[0], told) and cache.open_cache(file) is not None


def test_where_nothing_can_be_written_beside_it_the_cache_is_the_users(file, monkeypatch, tmp_path):
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    beside, own = cache.places_of(file)
    beside.mkdir()  # which nothing can replace
    found = stored(file)[0]
    assert own.parent == tmp_path / "home" / "annotations" and own.is_file() and alike(found, whole(file)[0])


def test_a_full_disk_is_no_fault(file, monkeypatch, tmp_path):
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(cache, "_write_head", full)
    assert alike(stored(file)[0], whole(file)[0])
    assert not list(tmp_path.rglob("*.roikit*"))


def test_many_may_write_at_once_and_what_a_cut_one_left_is_removed(file):
    left = file.with_name(f".{file.name}.roikit.12.ab")
    left.write_bytes(b"cut")
    os.utime(left, (5, 5))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: stored(file)[0], range(16)))
    told = whole(file)[0]
    assert all(alike(one, told) for one in found) and cache.open_cache(file) is not None
    assert sorted(os.listdir(file.parent)) == ["annotations.json", "annotations.json.roikit", "images"]


def test_the_cache_can_be_switched_off(file, monkeypatch):
    monkeypatch.setenv("ROIKIT_CACHE", "off")
    assert alike(stored(file)[0], whole(file)[0]) and not os.path.exists(f"{file}.roikit")


def test_a_data_set_is_pickled_without_its_columns(tmp_path, large):
    messy = Messy(tmp_path)
    messy.content["annotations"] *= 2000
    dataset = CocoDataset(messy.write(), messy.images)
    text = pickle.dumps(dataset)
    assert dataset.num_objects == 24_000 and len(text) < 24_000 * 5 + 10_000  # a number and a flag of each
    other = pickle.loads(text)
    assert all(np.array_equal(a, b) for k in range(4) for a, b in zip(
        sum(dataset.sample(k).masks, []), sum(other.sample(k).masks, []), strict=True))
    os.unlink(f"{tmp_path / 'annotations.json'}.roikit")
    with pytest.raises(OSError):
        pickle.loads(text)


def test_a_hundred_thousand_objects_take_little_memory_and_time(tmp_path):
    """Columns of a file of 26 MB hold little beside its numbers, and a record is made of them when it is asked for."""
    record = json.dumps({"id": 5, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2.5, "bbox": [1.5, 2, 3, 4],
                         "segmentation": [[1.25, 2.5] * 10]})
    path = tmp_path / "a.json"
    path.write_text('{"annotations": [' + ", ".join([record] * 100_000) + "]}")
    builder = Builder(None)  # no record needs it
    for _, value, again in pieces_of(path):
        builder.add(value, again)
    columns = {name: np.concatenate(parts) for name, parts in builder.finish().items()}
    records = Records(columns)
    assert len(records) == 100_000 and records[-1] == records[99_999] == json.loads(record)
    assert sum(values.nbytes for values in columns.values()) < 100_000 * (160 + 32 + 120)
    assert [r["id"] for r in records[5:8]] == [5, 5, 5] and records.crowds == 0 and records.drawn.all()


@given(st.lists(st.one_of(PLAIN, PLAIN, MIXED), max_size=20), st.integers(0, 3))
def test_law_the_doctor_finds_the_same_in_columns(tmp_path_factory, records, repeated):
    folder = tmp_path_factory.mktemp("store")
    messy = Messy(folder)
    messy.content["annotations"] += records + messy.content["annotations"][:repeated]
    path = messy.write()
    found = []
    for least in (None, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(annotations.load_annotations.__kwdefaults__, "large", least)
            found.append(inspect_dataset(path, messy.images))
    assert as_floats([str(f) for f in found[0].findings]) == as_floats([str(f) for f in found[1].findings])
    assert found[0].text().split("\n", 1)[0] == found[1].text().split("\n", 1)[0]
    shutil.rmtree(folder)


def test_a_content_that_was_read_in_pieces_may_be_given_and_changed(tmp_path):
    messy = Messy(tmp_path)
    content = stored(messy.write())[0]
    content = {**content, "images": [{**r, "id": float(r["id"])} for r in content["images"][1:]]}
    with pytest.warns(RoikitWarning, match="left out 3 of 12 annotations"):
        assert CocoDataset(content, messy.images).num_objects == 9
    with pytest.raises(ValueError, match="must have a list 'categories'"):
        CocoDataset({**content, "categories": 5}, messy.images)


def test_progress_is_shown_of_images_and_objects(tmp_path, large):
    messy, seen = Messy(tmp_path), []

    def progress(words, items):
        seen.append((words, len(items)))
        return items
    inspect_dataset(messy.write(), messy.images, progress=progress)
    assert seen == [("images", 4), ("objects", 12)]
