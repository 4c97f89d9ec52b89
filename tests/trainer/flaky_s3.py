"""An S3 server on the loopback address that fails: every tenth request has an error, or an answer that breaks off."""

import threading
from contextlib import contextmanager

EVERY = 10


class Flaky:
    """A WSGI application before another one, which it keeps every tenth request from.

    Attributes:
        failures: how many requests had no whole answer, by kind.
        down: whether no request has one.
    """

    def __init__(self, application):
        self._application, self._lock, self._count = application, threading.Lock(), 0
        self.failures, self.down = {"refused": 0, "cut": 0}, False

    def __call__(self, environ, start_response):
        with self._lock:
            self._count += 1
            count = self._count
        if not self.down and count % EVERY:
            return self._application(environ, start_response)
        if not self.down and environ["REQUEST_METHOD"] == "GET" and count % (2 * EVERY):
            body = b"".join(self._application(environ, start_response))
            self.failures["cut"] += 1
            return [body[:len(body) // 2]]  # with the whole length in its head
        self.failures["refused"] += 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]


@contextmanager
def flaky_s3():
    """The `Flaky` of a server without a bucket, its address, and that of a server of the same files that works."""
    from moto.backends import get_backend
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    for backend in get_backend("s3").values():  # which are those of the process
        backend["aws"].reset()
    application = DomainDispatcherApplication(create_backend_app)
    flaky = Flaky(application)
    with _served(flaky) as address, _served(application) as working:
        yield flaky, address, working


@contextmanager
def _served(application):
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
