"""Downloads, from a server on the loopback address: a file appears whole and right, or not at all."""

import hashlib
import http.server
import threading
from urllib.parse import urlsplit

import pytest

from roikit.models.weights import download
from roikit.models.weights.download import _fetch, fetch, weights_folder
from roikit.models.weights.published import Published

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several blocks


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind, _, _ = self.path.strip("/").partition("/")
        if kind == "away":
            self.send_response(302)
            self.send_header("Location", self.server.away)
            self.end_headers()
            return
        if kind == "404":
            self.send_error(404)
            return
        if kind == "broken":
            self.connection.close()
            return
        self.send_response(200)
        if kind != "unmeasured":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-1000] if kind in ("cut", "unmeasured") else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.handle_error = True, lambda *_: None  # a client that leaves is no news
    server.asked, server.away = [], ""
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def entry(address, kind="whole", algorithm="sha256", digest=None):
    digest = digest or hashlib.new(algorithm, CONTENT).hexdigest()[:8]
    return Published("them/model", "them", "mask_rcnn", "COCO", f"{address}/{kind}/model-{digest}.pth", digest,
                     algorithm, "MIT")


def get(what, folder, server, progress=False):
    return _fetch(what, folder, progress, lambda url: url.startswith(server.address + "/"))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_contract_a_download_is_whole_and_is_made_once(server, tmp_path, algorithm):
    what = entry(server.address, algorithm=algorithm)
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        path = get(what, folder, server)
        assert path == folder / what.file_name and path.read_bytes() == CONTENT
    assert left(folder) == [what.file_name] and len(server.asked) == 1


@pytest.mark.parametrize("kind, error, said", [
    ("cut", ConnectionError, "broke off after 5119000 of 5120000 bytes"),
    ("unmeasured", ValueError, "must have a sha256 digest that begins with"),
    ("404", ConnectionError, "Not Found"),
    ("broken", ConnectionError, "could not be downloaded"),
])
def test_contract_a_failed_download_leaves_nothing(server, tmp_path, kind, error, said):
    what = entry(server.address, kind)
    with pytest.raises(error, match=said) as caught:
        get(what, tmp_path, server)
    assert what.url in str(caught.value) and left(tmp_path) == []
    if error is ConnectionError:
        assert f"put the file at {tmp_path / what.file_name}" in str(caught.value)


def test_contract_a_wrong_digest_leaves_nothing(server, tmp_path):
    what = entry(server.address, digest="0123abcd")
    with pytest.raises(ValueError, match=f"begins with 0123abcd, got {hashlib.sha256(CONTENT).hexdigest()}"):
        get(what, tmp_path, server)
    assert left(tmp_path) == []


def test_contract_a_file_that_was_there_is_checked(server, tmp_path):
    what = entry(server.address)
    path = tmp_path / what.file_name
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="which was there before, must have a sha256 digest"):
        get(what, tmp_path, server)
    assert path.read_bytes() == CONTENT[:-1] and not server.asked
    path.write_bytes(CONTENT)
    assert fetch(what, tmp_path) == path and not server.asked


def test_contract_a_redirect_to_http_is_refused(server, tmp_path):
    server.away = f"http://localhost:{server.server_port}/whole/x"
    what = entry(server.address, "away")
    with pytest.raises(ValueError, match=r"must be https, got http://localhost.*leads there"):
        # The rule of `fetch`, but for the first address.
        _fetch(what, tmp_path, False, lambda url: url == what.url or urlsplit(url).scheme == "https")
    assert left(tmp_path) == [] and server.asked == [urlsplit(what.url).path]
    server.away = "file:///etc/passwd"
    with pytest.raises((ValueError, ConnectionError)):
        _fetch(what, tmp_path, False, lambda url: True)
    assert left(tmp_path) == []


def test_contract_a_redirect_to_a_safe_address_is_followed(server, tmp_path):
    server.away = f"{server.address}/whole/elsewhere"
    assert get(entry(server.address, "away"), tmp_path, server).read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "ftp://127.0.0.1:1", "file:///etc"])
def test_contract_only_https_is_asked(tmp_path, address):
    with pytest.raises(ValueError, match="must be https, got"):
        fetch(entry(address), tmp_path, progress=False)
    assert left(tmp_path) == []


def test_contract_no_network_names_the_address_and_the_place(server, tmp_path):
    unencrypted = entry(server.address.replace("http:", "https:"))  # no TLS there
    for what in (unencrypted, entry("https://127.0.0.1:1")):
        with pytest.raises(ConnectionError) as error:
            fetch(what, tmp_path, progress=False)
        assert what.url in str(error.value) and str(tmp_path / what.file_name) in str(error.value)
    assert left(tmp_path) == []


def test_contract_an_interruption_leaves_nothing(server, tmp_path, monkeypatch):
    def stop(self, done, total):
        assert len(left(tmp_path)) == 1 and left(tmp_path)[0].endswith(".part")
        raise KeyboardInterrupt

    monkeypatch.setattr(download._Bar, "show", stop)
    with pytest.raises(KeyboardInterrupt):
        get(entry(server.address), tmp_path, server, progress=True)
    assert left(tmp_path) == []


def test_contract_many_at_once(server, tmp_path):
    what, seen = entry(server.address), []
    barrier = threading.Barrier(6)

    def run():
        barrier.wait()
        seen.append(get(what, tmp_path, server).read_bytes())

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [CONTENT] * 6 and left(tmp_path) == [what.file_name]


def test_contract_a_folder_that_cannot_be_written_is_an_os_error_of_its_own(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as error:
        get(entry(server.address), tmp_path / "file", server)
    assert not isinstance(error.value, ConnectionError) and not server.asked


def test_contract_progress_goes_to_stderr(server, tmp_path, capsys):
    get(entry(server.address), tmp_path / "a", server, progress=True)
    out, err = capsys.readouterr()
    assert not out and err.splitlines()[-1].startswith("model-") and " 5 of 5 MiB" in err and "\r" not in err
    get(entry(server.address), tmp_path / "b", server)
    assert capsys.readouterr() == ("", "")


def test_contract_the_folder_of_weights(tmp_path, monkeypatch, server):
    monkeypatch.delenv("ROIKIT_HOME", raising=False)
    monkeypatch.setattr(download.os, "name", "posix")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "roikit"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert weights_folder() == tmp_path / ".cache" / "roikit"
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home"
    assert get(entry(server.address), None, server).parent == tmp_path / "home"
