"""The server extension: what the front end asks of the server, as described in schemas/routes.yaml."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.services.contents.fileio import FileManagerMixin
from tornado import web
from traitlets import Float, Integer

from jupyter_codeagent.checkup import Checkup
from jupyter_codeagent.jobs import Busy, Job, Jobs
from jupyter_codeagent.models.listing import listing

_Method = TypeVar("_Method", bound=Callable[..., Any])
_LARGEST = 512 * 1024  # bytes of a body: the path of a notebook, and ids of its cells


class Refused(web.HTTPError):
    """A request that cannot be answered; `sentence` tells the user why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, "%s", sentence)
        self.sentence = sentence


def allowed(action: str, resource: str = "codeagent") -> Callable[[_Method], _Method]:
    """Decorate a method: whoever asks must be known and may do `action` to `resource`, by the server's authorizer."""

    def decorate(method: _Method) -> _Method:
        checked = cast(Callable[[_Method], _Method], authorized(action=action, resource=resource))
        return cast(_Method, web.authenticated(checked(method)))

    return decorate


class Handler(APIHandler):
    """What all routes share."""

    def initialize(self, app: CodeAgentServer) -> None:
        """Take the extension; called by tornado for each request."""
        self.app = app

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer a refusal with its sentence; called by tornado."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refused):
            self.answer({"message": error.sentence, "reason": None})
        else:
            super().write_error(status_code, **kwargs)

    def answer(self, data: dict[str, Any]) -> None:
        """Send `data` as the whole answer."""
        self.finish(json.dumps(data))

    def body(self) -> dict[str, Any]:
        """Return the request's JSON object."""
        if len(self.request.body) > _LARGEST:
            raise Refused(413, f"The request has {len(self.request.body)} bytes; at most {_LARGEST} are read.")
        try:
            found = json.loads(self.request.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Refused(400, 'The request is no JSON object; send {"path": "folder/name.ipynb"}.')
        return found

    def job(self, id: str) -> Job:
        """Return a job that is known."""
        if found := self.app.jobs.find(id):
            return found
        raise Refused(404, f"There is no verification {id!r} any more; start a new one.")


class DoctorHandler(Handler):
    """What works on this machine."""

    @allowed("read")
    async def get(self) -> None:
        """Answer with the doctor's findings."""
        self.answer({"version": 1, "findings": await self.app.checkup.findings()})


class ModelsHandler(Handler):
    """Which models there are."""

    @allowed("read")
    async def get(self) -> None:
        """Answer with the model that would be used, and with those that are known."""
        # a thread: the hash of a local model's file may have to be computed
        self.answer(await asyncio.to_thread(listing))


class VerifyHandler(Handler):
    """The verifications."""

    @allowed("read", "contents")
    @allowed("execute")
    async def post(self) -> None:
        """Begin a verification and answer with its job."""
        body = self.body()
        path = body.get("path")
        file = await notebook_file(self.contents_manager, path)
        try:
            stamp, unknown = await self._may_stamp(body), unknown_cells(body)
            job = await self.app.jobs.start(file, str(path).strip("/"), stamp=stamp, unknown=unknown)
        except Busy as error:
            raise Refused(429, str(error)) from error
        self.set_status(201)
        self.answer(job.told())

    async def _may_stamp(self, body: dict[str, Any]) -> bool:
        """Say whether the file is stamped: unless told otherwise, where whoever asks may write."""
        allowed = self.authorizer.is_authorized(self, self.current_user, "write", "contents")
        return body.get("stamp") is not False and await ensure_async(allowed)


class JobHandler(Handler):
    """One verification."""

    @allowed("read")
    async def get(self, id: str) -> None:
        """Answer with its state."""
        self.answer(self.job(id).told())

    @allowed("execute")
    async def delete(self, id: str) -> None:
        """Stop it, and answer when its process is gone."""
        job = self.job(id)
        await self.app.jobs.stop(job)
        self.answer(job.told())


def unknown_cells(body: dict[str, Any]) -> list[str] | None:
    """Return the ids under "unknown" of a request, None where there is no such list.

    Raises
    ------
    Refused
        If it is something else.
    """
    found = body.get("unknown")
    if found is None or (isinstance(found, list) and all(isinstance(item, str) for item in found)):
        return found
    raise Refused(400, '"unknown" is no list of texts; send the ids of cells.')


async def notebook_file(contents: Any, path: object) -> Path:
    """Return the file of the notebook that the contents manager knows as `path`.

    Raises
    ------
    Refused
        If it is none, is missing, hidden, or outside the server's root folder, also behind a link.
    """
    if not isinstance(path, str) or not path.endswith(".ipynb"):
        raise Refused(400, f"{path!r:.200} is no notebook; give the path of a file that ends with .ipynb.")
    if not isinstance(contents, FileManagerMixin):
        raise Refused(400, "This server keeps its notebooks where they cannot be verified; download the notebook.")
    missing = Refused(404, f"There is no notebook {path!r:.200} on this server; is it saved?")
    root = Path(contents.root_dir).resolve()  # type: ignore[attr-defined]  # the mixin's users have it
    try:
        file = (root / path.strip("/")).resolve()
        if not file.is_relative_to(root) or ".." in path.split("/"):
            raise Refused(403, f"{path!r:.200} leads out of this server's folder; move the notebook into it.")
        if not file.is_file():
            raise missing
    except (ValueError, OSError, RuntimeError) as error:  # a zero byte, a name too long, a circle of links
        raise missing from error
    if not contents.allow_hidden and await ensure_async(contents.is_hidden(path)):  # type: ignore[attr-defined]
        raise missing
    return file


class CodeAgentServer(ExtensionApp):
    """The server extension of jupyter_codeagent."""

    name = "jupyter_codeagent"
    load_other_extensions = True

    verifications = Integer(2, min=1, help="Notebooks that may be verified at the same time.").tag(config=True)
    findings_kept = Float(20.0, min=0.0, help="Seconds for which the doctor's findings are kept.").tag(config=True)

    def _config_file_name_default(self) -> str:
        return "jupyter_codeagent_config"  # the one that the command line reads too

    def initialize_handlers(self) -> None:
        """Register the routes; called by the server at its start."""
        self.jobs = Jobs(at_once=self.verifications, kept=20)
        self.checkup = Checkup(self.findings_kept)
        routes: list[tuple[str, type[Handler]]] = [
            ("doctor", DoctorHandler),
            ("models", ModelsHandler),
            ("verify", VerifyHandler),
            ("verify/([0-9a-f]{16})", JobHandler),
        ]
        self.handlers.extend((f"/jupyter-codeagent/{route}", handler, {"app": self}) for route, handler in routes)

    async def stop_extension(self) -> None:
        """End what is running; called when the server ends."""
        self.checkup.close()
        await self.jobs.close()
