"""Addresses: what is brought and when, what is asked again, what is said; fsspec's file system in memory serves."""

import errno
import functools
import io
import json
import multiprocessing
import os
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from roikit import data
from roikit.data import remote
from roikit.data.annotations import load_annotations
from roikit.data.remote import asking, local_path, local_paths, mirror

fsspec = pytest.importorskip("fsspec")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def asked(server, monkeypatch):
    """The names of the files that the server has given, and a list of the errors that it is to raise first."""
    given, errors, get_file = [], [], server.get_file

    def get(name, *args, **options):
        if errors:
            raise errors.pop(0)
        given.append(name)
        return get_file(name, *args, **options)

    monkeypatch.setattr(type(server), "get_file", lambda self, *args, **options: get(*args, **options))
    return given, errors


def put_nuclei(server, part="val"):
    annotations, images = data.nuclei_mini(part)
    server.pipe(f"/set/annotations/{part}.json", Path(annotations).read_bytes())
    for path in Path(images).iterdir():
        server.pipe(f"/set/images/{part}/{path.name}", path.read_bytes())
    return f"memory://set/annotations/{part}.json", f"memory://set/images/{part}"


@pytest.mark.parametrize("text, is_one", [
    ("s3://bucket/a.png", True), ("https://host/a.png?b=1", True), ("memory://a", True), ("C://a.png", False),
    ("a/b.png", False), ("/a//b.png", False), (Path("s3://bucket/a"), False), (None, False), ({}, False)])
def test_an_address_is_a_text_with_a_kind_before(text, is_one):
    assert remote.is_address(text) is is_one


def test_paths_stay_what_they_are(server, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"a")
    content = {"images": []}
    assert all(local_path(one) is one for one in (path, str(path), "not/there.png", content, None))


@pytest.mark.parametrize("address", ["memory://", "memory://a/../b", "memory://a//b", "memory://a/./b", "zip://a::b://c"])
def test_contract_an_address_that_leads_out_of_the_mirror_is_refused(server, address):
    with pytest.raises(ValueError, match="an address must be"):
        local_path(address)


def test_names_that_lead_out_of_the_mirror_are_passed_over(server):
    server.store["/set/../a.txt"] = server.store["/set/b.txt"] = fsspec.implementations.memory.MemoryFile(
        server, "/set/b.txt", b"b")
    assert [path.name for path in local_path("memory://set").rglob("*")] == ["b.txt"]


def test_law_a_folder_of_an_address_is_the_folder(server):
    annotations, images = put_nuclei(server)
    there, here = data.CocoDataset(annotations, images), data.CocoDataset(*data.nuclei_mini("val"))
    assert len(there) == len(here) == 16
    for (image, target), (own, known) in zip(there, here, strict=True):
        assert image.equal(own) and target["boxes"].equal(known["boxes"]) and target["masks"] == known["masks"]
    assert data.inspect_dataset(annotations, images).text() == data.inspect_dataset(*data.nuclei_mini("val")).text()


def test_a_picture_is_brought_when_it_is_opened_and_once(server, asked):
    given, _ = asked
    _, images = put_nuclei(server)
    folder = local_path(images)
    names = sorted(os.listdir(folder))
    assert len(names) == 16 and given == []
    data.read_image(folder / names[3])
    data.read_image(folder / names[3])
    data.read_image(f"{images}/{names[3]}")
    local_path(images)
    data.read_image(folder / names[3])
    assert given == [f"/set/images/val/{names[3]}"]


def test_what_has_changed_is_brought_again_and_what_has_gone_goes(server, asked):
    given, _ = asked
    server.pipe("/set/a.txt", b"old")
    server.pipe("/set/b.txt", b"b")
    folder = local_path("memory://set")
    assert (folder / "a.txt").read_bytes() == b"old" and len(given) == 2
    server.pipe("/set/a.txt", b"new")  # of the same size
    server.rm("/set/b.txt")
    local_path("memory://set")
    assert (folder / "a.txt").read_bytes() == b"new" and os.listdir(folder) == ["a.txt"] and len(given) == 3
    server.pipe("/set/a.txt", b"newest")
    assert local_path("memory://set/a.txt").read_bytes() == b"newest"


def test_a_copy_that_somebody_cut_is_brought_again(server):
    server.pipe("/set/a.txt", b"whole")
    path = local_path("memory://set/a.txt")
    times = os.stat(path)
    path.write_bytes(b"who")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert local_path("memory://set/a.txt").read_bytes() == b"whole"


def test_errors_are_asked_again(server, asked):
    given, errors = asked
    server.pipe("/set/a.txt", b"a")
    errors += [OSError("down")] * 3 + [RuntimeError("of a library")] * 2
    assert local_path("memory://set/a.txt").read_bytes() == b"a" and len(given) == 1


def test_contract_an_address_that_cannot_be_reached_is_named_with_the_attempts(server, asked):
    given, errors = asked
    server.pipe("/set/a.txt", b"a")
    errors += [OSError("the line is down")] * 6
    with pytest.raises(OSError, match="memory://set/a.txt could not be reached in 6 attempts and 0 s: the line is"):
        local_path("memory://set/a.txt")
    assert not errors and given == [] and not list(mirror.mirror_folder().rglob("*.part"))


def test_a_server_that_is_silent_is_asked_once_until_it_answers(server, asked, monkeypatch):
    _, errors = asked
    for name in "ab":
        server.pipe(f"/set/{name}.txt", b"a")
    errors += [OSError("down")] * 7
    for attempts, name in (("6 attempts", "a"), ("1 attempt", "b")):
        with pytest.raises(OSError, match=f"{name}.txt could not be reached in {attempts} and"):
            mirror.bring(f"memory://set/{name}.txt", mirror.place_of(f"memory://set/{name}.txt"), {})
    errors += [OSError("down")] * 3
    assert local_path("memory://set/a.txt").is_file()  # asking about the file has an answer
    monkeypatch.setattr(asking, "PATIENCE", -1.0)
    errors += [OSError("down")]
    with pytest.raises(OSError, match="b.txt could not be reached in 1 attempt and"):
        local_path("memory://set/b.txt")


@pytest.mark.parametrize("error, words", [(FileNotFoundError("x"), "there is nothing at memory://set/a.txt"),
                                          (PermissionError("x"), "memory://set/a.txt may not be accessed: x")])
def test_an_answer_is_not_asked_for_again(server, asked, error, words):
    _, errors = asked
    server.pipe("/set/a.txt", b"a")
    errors += [error] * 2
    with pytest.raises(type(error), match=words):
        local_path("memory://set/a.txt")
    assert len(errors) == 1


def test_a_full_disk_is_no_fault_of_the_server(server, asked):
    _, errors = asked
    server.pipe("/set/a.txt", b"a")
    errors += [OSError(errno.ENOSPC, "No space left on device", "home/a.part")] * 2
    with pytest.raises(OSError, match="No space left on device: 'home/a.part'"):
        local_path("memory://set/a.txt")
    assert len(errors) == 1


def test_a_file_that_comes_cut_is_asked_for_again(server, monkeypatch):
    server.pipe("/set/a.txt", b"whole")
    cut, get_file = [2], type(server).get_file

    def get(self, name, path, **options):
        get_file(self, name, path, **options)
        if cut[0]:
            cut[0] -= 1
            Path(path).write_bytes(b"who")

    monkeypatch.setattr(type(server), "get_file", get)
    assert local_path("memory://set/a.txt").read_bytes() == b"whole" and cut == [0]


def test_contract_fsspec_missing_is_a_sentence_that_names_the_extra(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"memory://set/a.txt is an address.*pip install 'roikit\[remote\]'"):
        local_path("memory://set/a.txt")


def test_contract_a_kind_of_address_that_nobody_knows_is_named(server):
    with pytest.raises(ValueError, match="nothing9://a/b cannot be asked: Protocol not known: nothing9"):
        local_path("nothing9://a/b")


def test_several_are_brought_and_those_that_cannot_be_are_told(server):
    server.pipe("/set/a.txt", b"a")
    found, missing, plain = local_paths(["memory://set/a.txt", "memory://set/b.txt", "c.txt"])
    assert found.read_bytes() == b"a" and isinstance(missing, FileNotFoundError) and plain == "c.txt"


def _bring(address, path):
    Path(path).write_bytes(local_path(address).read_bytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the file system in memory is handed on by fork alone")
def test_processes_that_bring_a_file_at_once_get_it_whole(server, tmp_path):
    content = bytes(range(256)) * 4096
    server.pipe("/set/a.bin", content)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_bring, args=("memory://set/a.bin", tmp_path / str(k))) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [(tmp_path / str(k)).read_bytes() == content for k in range(4)] == [True] * 4
    assert [p.name for p in mirror.mirror_folder().rglob("*") if p.is_file()] == ["a.bin"]


def test_the_loaders_processes_bring_pictures(server):
    torch = pytest.importorskip("torch")
    annotations, images = put_nuclei(server)
    loader = torch.utils.data.DataLoader(data.CocoDataset(annotations, images), num_workers=2, collate_fn=data.collate,
                                         multiprocessing_context="fork")
    assert len(list(loader)) == 16


@pytest.mark.parametrize("missing", ["memory://set/images/nothing", "memory://nothing"])
def test_the_doctor_names_a_folder_that_is_not_there(server, missing):
    annotations, _ = put_nuclei(server)
    report = data.inspect_dataset(annotations, missing)
    assert [f.kind for f in report.errors] == ["missing-folder"] and missing in report.text()
    report = data.inspect_dataset(f"{missing}.json", data.nuclei_mini("val")[1])
    assert [f.kind for f in report.errors] == ["unreadable-file"] and f"{missing}.json" in report.text()


def test_a_data_set_of_another_layout_is_converted_and_tells_its_address(server, tmp_path):
    yolo = tmp_path / "yolo"
    data.convert_data(data.nuclei_mini("val")[0], yolo, images=data.nuclei_mini("val")[1], layout="yolo")
    for path in yolo.rglob("*"):
        if path.is_file():
            server.pipe(f"/yolo/{path.relative_to(yolo).as_posix()}", path.read_bytes())
    data.convert_data("memory://yolo", tmp_path / "coco.json")
    data.convert_data(yolo, tmp_path / "own.json")
    there, own = (json.loads((tmp_path / name).read_text()) for name in ("coco.json", "own.json"))
    assert there["annotations"] == own["annotations"] and there["info"]["images"] == "memory://yolo/images"
    copied = data.convert_data(tmp_path / "coco.json", tmp_path / "voc", layout="voc")
    assert copied.images == 16 and data.read_image(next((tmp_path / "voc/JPEGImages").iterdir())).shape == (256, 256, 3)


def test_a_file_that_tells_its_folder_is_found_beside_itself(server):
    annotations, _ = put_nuclei(server)
    content = json.loads(server.cat("/set/annotations/val.json"))
    del content["info"]
    server.pipe("/set/annotations/val.json", json.dumps({"info": {"images": "../images/val"}, **content}).encode())
    from roikit.data.layouts import find_source

    assert len(os.listdir(find_source(annotations).images)) == 16


def test_label_maps_and_panoptic_files_are_read(server, tmp_path):
    ids = np.array([[1, 1, 300], [0, 1, 300]])
    segments = [{"id": 1, "category_id": 7}, {"id": 300, "category_id": 9}]
    categories = [{"id": 7, "name": "cat", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}]
    data.write_panoptic(tmp_path / "found.json", [({"id": 5, "file_name": "a.jpg"}, ids, segments)], categories)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            server.pipe(f"/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    assert (data.PanopticFile("memory://found.json").ids(5, 2, 3) == ids).all()
    png = io.BytesIO()
    Image.fromarray(ids.astype(np.uint8)).save(png, "PNG")
    server.pipe("/maps/a.png", png.getvalue())
    report = data.inspect_semantic("memory://maps", None, "memory://maps", classes=2)
    assert [f.kind for f in report.errors] == ["semantic-label"] and "a.png has the label 44" in report.text()


@pytest.mark.parametrize("write", [
    lambda: data.convert_data(*data.nuclei_mini("val")[:1], "memory://out.json", images=data.nuclei_mini("val")[1]),
    lambda: data.mend.write_annotations({}, "memory://out.json")])
def test_contract_what_nobody_copies_is_not_written_to_an_address(server, write):
    with pytest.raises(ValueError, match="memory://out.json must be a path on this machine"):
        write()


def test_no_annotations_are_said_with_their_address(server):
    with pytest.raises(FileNotFoundError, match="there is nothing at memory://set/nothing.json"):
        load_annotations("memory://set/nothing.json")


@pytest.fixture
def web(tmp_path, monkeypatch):
    """The address of a web server of the bundled val part, and the server."""
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(asking, "WAITS", (0.0,) * 5)
    monkeypatch.setattr(asking, "_silent", set())
    folder = data.nuclei_mini("val")[0].parent.parent
    web = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}", web
    web.shutdown()
    web.server_close()


def test_the_web_is_read_where_it_lists_its_files(web):
    address, server = web
    annotations, images = f"{address}/annotations/instances_val.json?token=1", f"{address}/images/val/"
    assert data.inspect_dataset(annotations, images).text() == data.inspect_dataset(*data.nuclei_mini("val")).text()
    assert remote.address_of(local_path(images)) == images.rstrip("/")
    assert remote.address_of(local_path(annotations)) is None  # for what it is asked with is not kept
    with pytest.raises(FileNotFoundError, match="there is nothing at http://127.0.0.1:[0-9]+/nothing.json"):
        local_path(f"{address}/nothing.json")
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="/nothing.json could not be reached in 6 attempts and"):
        local_path(f"{address}/nothing.json")


def test_pictures_that_are_to_be_looked_at_come_before(server, asked):
    given, errors = asked
    _, images = put_nuclei(server)
    folder = local_path(images)
    names = sorted(os.listdir(folder))
    errors += [PermissionError("x")]
    remote.bring_below(folder, names[:3])
    assert len(given) == 2
    remote.bring_below(folder.parent.parent.parent, ["nothing"])
    remote.bring_below(data.nuclei_mini("val")[1], names)
    assert len(given) == 2
