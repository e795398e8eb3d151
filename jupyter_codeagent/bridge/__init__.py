"""The comms to the pages that show a notebook: what the agent does goes out, what the user wants comes in."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_codeagent.bridge.feed import Feed, Message, Origin
from jupyter_codeagent.errors import CodeAgentError, WrongUse
from jupyter_codeagent.notebook import sendable
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.trajectory import Attempt, Trajectory

EVENTS = "jupyter_codeagent"  # the comm that the kernel opens, and only sends on
CONTROL = "jupyter_codeagent.control"  # the one that a page opens
PAGES_MOST = 200  # control comms of pages; those that went away without a word are forgotten first
TASKS_MOST = 500  # tasks whose messages are kept for pages that come later

Answer = Callable[[Message], Message]


class Bridge:
    """Tells pages what the agent does, and answers what they ask. Used by several threads.

    Pages' requests come in threads of their own while a cell runs (subshells), so an answer must not wait for what
    cells do.

    Parameters
    ----------
    find : callable
        Returns the feed of a task that this kernel has not told of, from its records, or None.
    """

    def __init__(self, find: Callable[[str], Feed | None] = lambda task: None) -> None:
        self.answers: dict[str, Answer] = {}
        self.find = find
        self._feeds: dict[str, Feed] = {}
        self._pages: dict[str, tuple[str, Any]] = {}
        self._comm: Any = None
        self._lock = threading.RLock()
        # what stands in a notebook cannot know it: pages send it with what a button of theirs runs anew
        self.again = secrets.token_hex(16)
        self.background = True  # tasks can work in the background; pages ask for it only there

    # -- life -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the comm, and take those of pages from now on."""
        import comm

        comm.get_comm_manager().register_target(CONTROL, self._attach)
        self._comm = comm.create_comm(target_name=EVENTS, data={"version": 1})
        self._comm.on_close(self._closed_by_a_page)

    def announce(self) -> None:
        """Tell of the comm once more; a page may have missed it."""
        if self._comm is not None:
            self._comm.open(data={"version": 1})

    def close(self) -> None:
        """Close all comms."""
        import comm

        events, self._comm = self._comm, None
        if events is None:
            return
        comm.get_comm_manager().unregister_target(CONTROL, self._attach)
        with self._lock:
            pages, self._pages = self._pages, {}
        for each in [events, *(control for _, control in pages.values())]:
            each.close()

    def _closed_by_a_page(self, message: Message) -> None:
        # A page without our front end closes what it does not know; the others, and later ones, still need it.
        import comm

        events = self._comm
        if events is not None:
            events._closed = False
            comm.get_comm_manager().register_comm(events)

    # -- what goes out ----------------------------------------------------------------------------

    def begin(self, trajectory: Trajectory, origin: Origin, replayed: bool = False) -> None:
        """Tell of a task from now on."""
        with self._lock:
            self._feeds.pop(trajectory.id, None)
            self._keep(Feed(trajectory, origin, replayed))
        self.show(trajectory)

    def show(self, trajectory: Trajectory) -> None:
        """Send what is new about a task, if it is worth a message."""
        if self._comm is None:
            return
        with uninterrupted(), self._lock:  # a change that is half sent would spoil all later ones
            feed = self._feeds.get(trajectory.id)
            for message in feed.news() if feed is not None else ():
                self._send(message)

    def edited(self, trajectory: Trajectory, attempt: Attempt) -> None:
        """Say that the user's version of an attempt was executed."""
        self._find([trajectory.id])
        with uninterrupted(), self._lock:
            feed = self._feeds.get(trajectory.id)
            if feed is not None:
                self._send(feed.edited(attempt))

    def attached(self, session: str) -> bool:
        """Tell whether a page with this session shows attempts as cells."""
        with self._lock:
            return bool(session) and any(known == session for known, _ in self._pages.values())

    def _send(self, message: Message) -> None:
        if self._comm is not None:
            self._comm.send(message)

    def _find(self, tasks: list[str]) -> None:
        """Look up what this kernel has not told of; without the lock, since records may be long."""
        for name in tasks:
            if name not in self._feeds and (feed := self.find(name)) is not None:
                feed.settle()
                with self._lock:
                    if name not in self._feeds:
                        self._keep(feed)

    def _keep(self, feed: Feed) -> None:
        self._feeds[feed.trajectory.id] = feed
        while len(self._feeds) > TASKS_MOST:
            del self._feeds[next(iter(self._feeds))]

    # -- what comes in ----------------------------------------------------------------------------

    def _attach(self, control: Any, message: Message) -> None:
        """A page has opened its comm."""
        data = message["content"].get("data")
        session = data.get("session") if isinstance(data, dict) else None
        with self._lock:
            while len(self._pages) >= PAGES_MOST:
                del self._pages[next(iter(self._pages))]
            self._pages[control.comm_id] = (session if isinstance(session, str) else "", control)
        # Not on_msg: around such a callback the shell's pre_execute and post_execute run, in this thread, and
        # post_execute shows the unfinished figures of the cell that runs in the main thread.
        control.handle_msg = functools.partial(self._request, control)
        control.on_close(lambda _: self._detach(control.comm_id))

    def _detach(self, comm_id: str) -> None:
        with self._lock:
            self._pages.pop(comm_id, None)

    def _request(self, control: Any, message: Message) -> None:
        data = message["content"].get("data")
        request = data.get("request") if isinstance(data, dict) else None
        named = request[:100] if isinstance(request, str) else ""
        try:
            if not isinstance(data, dict) or not isinstance(request, str):
                raise WrongUse("A request is an object with an id under 'request'.")
            reply = {"ok": True, "text": "", **self._answer(control, data)}
        except CodeAgentError as error:
            reply = {"ok": False, "text": str(error)}
        except Exception as error:  # noqa: BLE001 - what a page sends must not end in a traceback of the kernel
            reply = {"ok": False, "text": f"The request failed in the kernel ({type(error).__name__})."}
        control.send(sendable({"request": named, **reply}))

    def _answer(self, control: Any, data: Message) -> Message:
        kind = data.get("type")
        if kind == "sync":
            known = self._sync(control, names(data, "cells"), names(data, "tasks"))
            return {"known": known, "again": self.again, "background": self.background}
        answer = self.answers.get(kind) if isinstance(kind, str) else None
        if answer is None:
            raise WrongUse(f"There is no request of type {str(kind)[:40]!r}.")
        return answer(data)

    def _sync(self, control: Any, cells: list[str], tasks: list[str]) -> list[str]:
        """Repeat what was said of the tasks of a notebook; returns which are known."""
        self._find(tasks)
        with self._lock:  # also while sending: a change that came in between would be applied to the wrong state
            of_cells = [name for name, feed in self._feeds.items() if feed.origin.cell in cells]
            wanted = dict.fromkeys([*of_cells, *tasks])
            found = [self._feeds[name] for name in wanted if name in self._feeds]
            for feed in found:
                for message in feed.whole():
                    control.send(message)
        return [feed.trajectory.id for feed in found]


def names(data: Mapping[str, Any], key: str) -> list[str]:
    """Return the list of short texts under `key` of a request.

    Raises
    ------
    WrongUse
        If it is anything else.
    """
    found = data.get(key, [])
    if isinstance(found, list) and len(found) <= 20_000 and all(isinstance(n, str) and len(n) <= 500 for n in found):
        return [name for name in found if name]
    raise WrongUse(f"{key!r} is a list of short texts.")
