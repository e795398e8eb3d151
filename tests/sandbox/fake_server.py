"""A Jupyter server that lies: it starts no kernel, and says over the websocket whatever a test wants."""

import asyncio
import json
import threading

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from jupyter_codeagent.sandbox.channels import PROTOCOL, decode, encode
from jupyter_codeagent.sandbox.messages import ASIDE, REQUESTS, Assembler, Message

OPENED = {"tier": "A", "facts": {"seccomp": "2"}, "files_note": "", "left": 0}


class Fake:
    """A running server.

    `answer` is called with each whole message of the client and what can be said to it: `say(Message)`, or
    `frame(bytes)` for anything. By default the sandbox opens, and nothing else is ever answered.
    """

    def __init__(self, answer=None, rest=None, protocol=PROTOCOL, security=None):
        self.answer = answer or (lambda message, client: None)
        self.rest = {"GET kernelspecs": {"kernelspecs": {"codeagent-sandbox": {}}}, "POST kernels": {"id": "k-1"}}
        self.rest |= rest or {}
        self.protocol, self.security = protocol, security
        self.asked = []
        self.headers = []
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        self.ready.wait(30)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    @property
    def url(self):
        return f"http{'s' if self.security else ''}://localhost:{self.port}"

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self.loop.run_forever()

    async def _start(self):
        application = Application([(r"/api/kernels/.*/channels", Socket), (r"/api/(.*)", Rest)], fake=self)
        self.server = HTTPServer(application, ssl_options=self.security)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.server.add_sockets(sockets)
        self.ready.set()

    async def _stop(self):
        self.server.stop()
        await self.server.close_all_connections()


class Rest(RequestHandler):
    def prepare(self):
        fake = self.settings["fake"]
        asked = f"{self.request.method} {self.request.path.removeprefix('/api/')}"
        fake.asked.append(asked)
        fake.headers.append(dict(self.request.headers))
        found = fake.rest.get(asked, {"id": "k-1"} if self.request.method == "GET" else None)
        if isinstance(found, int):
            self.set_status(found)
            if 300 <= found < 400:
                self.set_header("Location", "http://127.0.0.1:1/api/kernelspecs")
        elif isinstance(found, bytes):
            self.write(found)
        elif found is None:
            self.set_status(204)
        else:
            self.write(json.dumps(found))
        self.finish()

    def log_exception(self, *_):
        pass


class Socket(WebSocketHandler):
    def select_subprotocol(self, offered):
        return self.settings["fake"].protocol

    def open(self):
        self.parts = Assembler((*REQUESTS, *ASIDE), 2**30)
        self.comm = ""

    def on_message(self, frame):
        told = decode(frame)
        if told.kind == "comm_open":
            self.comm = json.loads(frame[frame.index(b'{"comm_id"') :])["comm_id"]
        if told.kind != "comm_msg":
            return
        message = self.parts.take(told.content.get("data"), told.buffers)
        if message is not None and message.op == "open" and not getattr(self.settings["fake"].answer, "opens", False):
            self.say(Message("done", message.number, OPENED))
        elif message is not None:
            self.settings["fake"].answer(message, self)

    def tell(self, kind, content, buffers=()):
        """Say any message of the kernel protocol."""
        self.frame(encode("iopub", {"msg_type": kind}, content, buffers))

    def say(self, message):
        for data, buffer in message.parts():
            self.tell("comm_msg", {"comm_id": self.comm, "data": data}, [buffer])

    def frame(self, data):
        self.write_message(data, binary=True)

    def raw(self, data):
        """Write bytes below the frames of the websocket."""
        self.ws_connection.stream.write(data)


def opening(answer):
    """Have `answer` called for the request to open the sandbox as well."""
    answer.opens = True
    return answer
