"""Results at addresses: when they are copied, what is gone on with, what is kept where the server does not answer."""

import pytest

from roikit.data.remote import copy_now, kept_at, results
from roikit.errors import RoikitWarning


def test_results_are_copied_when_the_work_is_done(server):
    with kept_at("memory://out/run") as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b.png").write_bytes(b"b")
        (folder / "log.jsonl").write_bytes(b"1\n")
        (folder / ".hidden.part").write_bytes(b"h")
        assert folder.name == "run"
    assert server.cat("/out/run/a/b.png") == b"b" and server.cat("/out/run/log.jsonl") == b"1\n"
    assert sorted(server.find("/out")) == ["/out/run/a/b.png", "/out/run/log.jsonl"]


def test_results_are_copied_while_the_work_goes_on_and_where_it_fails(server, monkeypatch):
    monkeypatch.setattr(results, "EVERY", 0.02)
    with pytest.raises(RuntimeError, match="power cut"), kept_at("memory://out/run") as folder:
        (folder / "a.txt").write_bytes(b"a")
        for _ in range(500):
            if server.exists("/out/run/a.txt"):
                break
            results.time.sleep(0.02)
        else:
            pytest.fail("nothing was copied while the work went on")
        (folder / "b.txt").write_bytes(b"b")
        raise RuntimeError("power cut")
    assert server.cat("/out/run/b.txt") == b"b"


def test_a_journal_tells_of_no_file_that_is_not_there(server):
    copied = results._Copied("memory://out/run", "journal.jsonl", 0)
    copied.begin(False)
    (copied.folder / "journal.jsonl").write_bytes(b"a.png\n")
    (copied.folder / "a.png").write_bytes(b"a")
    copy = copied._copy

    def add_and_copy(name, path):  # as a work does that goes on meanwhile
        (copied.folder / "b.png").write_bytes(b"b")
        with open(copied.folder / "journal.jsonl", "ab") as file:
            file.write(b"b.png\n")
        copy(name, path)

    copied._copy = add_and_copy
    copied.once()
    assert server.cat("/out/run/journal.jsonl") == b"a.png\n"
    copied._copy = copy
    copied.once()
    assert server.cat("/out/run/journal.jsonl") == b"a.png\nb.png\n" and server.cat("/out/run/b.png") == b"b"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_at_the_address_is_gone_on_with(server, tmp_path, monkeypatch, elsewhere):
    with kept_at("memory://out/run") as folder:
        (folder / "a.txt").write_bytes(b"a")
        (folder / "a.png").write_bytes(b"p")
    if elsewhere:
        monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "another"))
    with kept_at("memory://out/run", go_on=True) as folder:
        assert (folder / "a.txt").read_bytes() == b"a" and (folder / "a.png").exists() is not elsewhere
    with kept_at("memory://out/run") as folder:
        assert list(folder.iterdir()) == []


def test_what_could_not_be_copied_is_kept_and_gone_on_with(server, monkeypatch):
    put_file = type(server).put_file

    def refuse(self, *args, **options):
        raise OSError("no route")

    monkeypatch.setattr(type(server), "put_file", refuse)
    with pytest.raises(OSError, match="results could not be copied to memory://out/run: memory://out/run/a.txt could "
                                      "not be reached in 6 attempts and 0 s: no route; all of them are in ") as told:
        with kept_at("memory://out/run") as folder:
            (folder / "a.txt").write_bytes(b"a")
    assert str(folder) in str(told.value)
    with pytest.warns(RoikitWarning, match="results could not be copied"), pytest.raises(KeyError):
        with kept_at("memory://out/run", go_on=True) as folder:
            raise KeyError
    monkeypatch.setattr(type(server), "put_file", put_file)
    with kept_at("memory://out/run", go_on=True) as folder:
        assert (folder / "a.txt").read_bytes() == b"a"
    assert server.cat("/out/run/a.txt") == b"a"


def test_what_another_machine_has_written_since_is_brought(server, tmp_path, monkeypatch):
    with kept_at("memory://out/run") as folder:
        (folder / "a.txt").write_bytes(b"mine")
    server.pipe("/out/run/a.txt", b"theirs")
    with kept_at("memory://out/run", go_on=True) as folder:
        assert (folder / "a.txt").read_bytes() == b"theirs"


def test_a_part_goes_when_the_journal_has_been_copied(server):
    options = {"journal": "log.jsonl", "parts": "log.part-*.jsonl"}
    with kept_at("memory://out/run", each=True, **options) as folder:
        (folder / "log.part-a-0.jsonl").write_bytes(b"1\n2\n")
        assert copy_now(folder) and server.cat("/out/run/log.part-a-0.jsonl") == b"1\n2\n"
    with kept_at("memory://out/run", go_on=True, **options) as folder:
        assert (folder / "log.part-a-0.jsonl").read_bytes() == b"1\n2\n"
        (folder / "log.jsonl").write_bytes(b"1\n2\n")
        (folder / "log.part-a-0.jsonl").unlink()
        remove, seen = type(server).rm_file, []
        try:
            type(server).rm_file = lambda self, path: seen.append(self.cat("/out/run/log.jsonl")) or remove(self, path)
            copy_now(folder)
        finally:
            type(server).rm_file = remove
        assert seen == [b"1\n2\n"] and not server.exists("/out/run/log.part-a-0.jsonl")
    assert copy_now(folder) is False


def test_a_journal_that_another_takes_the_place_of_meanwhile_is_copied_the_next_time(server):
    copied = results._Copied("memory://out/run", "log.jsonl", 0, "log.part-*.jsonl")
    copied.begin(False)
    (copied.folder / "log.jsonl").write_bytes(b"1\n2\n")
    (copied.folder / "log.part-a-0.jsonl").write_bytes(b"3\n")
    copied.once()
    (copied.folder / "log.part-a-0.jsonl").unlink()
    (copied.folder / "log.jsonl").write_bytes(b"1\n2\n3\n")
    (copied.folder / "a.txt").write_bytes(b"a")
    copy = copied._copy

    def join_and_copy(name, path):
        (copied.folder / "new").write_bytes(b"3\n2\n1\n")
        (copied.folder / "new").replace(copied.folder / "log.jsonl")
        copy(name, path)

    copied._copy = join_and_copy
    copied.once()
    assert server.cat("/out/run/log.jsonl") == b"1\n2\n" and server.exists("/out/run/log.part-a-0.jsonl")
    copied._copy = copy
    copied.once()
    assert server.cat("/out/run/log.jsonl") == b"3\n2\n1\n" and not server.exists("/out/run/log.part-a-0.jsonl")


def test_of_several_processes_each_copies_what_it_has_written(server, monkeypatch):
    server.pipe("/out/run/old.txt", b"old")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with kept_at("memory://out/run", go_on=True, parts="log.part-*.jsonl", each=True) as folder:
            assert (folder / "old.txt").exists() == (rank == "0")
            (folder / f"{rank}.png").write_bytes(b"p")
    with kept_at("memory://out/run", parts="log.part-*.jsonl") as folder:
        (folder / "alone.txt").write_bytes(b"a")
    assert sorted(server.find("/out")) == ["/out/run/0.png", "/out/run/1.png", "/out/run/old.txt"]
