"""What is executed beside the live state: rehearsals, and candidates, several of them at one time."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_codeagent.errors import SandboxDied, WrongUse
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.execution import CROWDED, WATCH, Execution, arrived
from jupyter_codeagent.sandbox.layer import Files
from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.sandbox.slots import Slot, Slots
from jupyter_codeagent.sandbox.state import Gone, State, descendants, memory, status
from jupyter_codeagent.sandbox.supervisor import HUNG, Cell, Point, Supervisor
from jupyter_codeagent.sandbox.values import pack
from jupyter_codeagent.trajectory import CodeError, Observation

# what code meets where others beside it have used up what they share: processes, or room for files
SHARED = re.compile(r"\[Errno (?:11|28)\]|can't start new thread|No space left|Resource temporarily unavailable")
STOPPED = CodeError("Interrupted", "Stopped by the user.")
Seen = list[tuple[Observation, bool]]


@dataclass(eq=False)
class Trial:
    """One code that is executed in a copy of a state."""

    code: str
    state: State | None = None
    execution: Execution | None = None
    slot: Slot | None = None
    observation: Observation = field(default_factory=Observation)
    over: bool = False
    why: str = ""  # why there is no copy of the state after it, as the rest of "because ..."

    @property
    def running(self) -> bool:
        """It has begun and not ended."""
        return self.execution is not None and not self.over

    @property
    def hung(self) -> bool:
        """Its copy of the state was of no use."""
        return self.execution is not None and self.execution.hung

    @property
    def struck(self) -> bool:
        """A signal came that we have not sent; it may be another's, since threads can be reached by their numbers."""
        error, execution = self.observation.error, self.execution
        interrupted = error is not None and error.ename == "KeyboardInterrupt"
        return execution is not None and (execution.killed or execution.halted or interrupted)

    def begin(self, execution: Execution, slot: Slot | None) -> None:
        """Have the code executed."""
        self.execution, self.slot = execution, slot
        execution.begin(self.code)

    def look(self, ready: set[int]) -> bool:
        """Take in what has arrived; True when there is something to show."""
        assert self.execution is not None
        grown = not self.execution.over and self.execution.look(ready)
        if self.execution.over:
            self.end(self.execution.observation())
        elif grown:
            self.observation = self.execution.observation()
        return grown or self.over

    def end(self, observation: Observation) -> None:
        """Keep how it ended, and let others have its slot; a process that was lost is cleared away."""
        self.observation, self.over = observation, True
        if self.slot is not None:
            self.slot.release()
        if self.execution is not None and self.execution.died:
            self.discard()

    def discard(self) -> None:
        """End its process, if there is one."""
        state, self.state = self.state, None
        if state is not None:
            state.kill()
            state.bury()
        if self.slot is not None:
            self.slot.release()

    def again(self) -> Trial:
        """Return the same, before it has begun."""
        self.discard()
        return Trial(self.code)


class Shares:
    """Which processes belong to which trial, and whether trials get into each other's way.

    What a trial's process has started is its own, and stays so where the parent has ended since. What was never seen
    below a trial belongs to none.
    """

    def __init__(self, supervisor: Supervisor, policy: SandboxPolicy, trials: Sequence[Trial]) -> None:
        self.supervisor, self.policy, self.trials = supervisor, policy, trials
        self.before = set(supervisor.inside()) - {t.state.pid for t in trials if t.state is not None}
        self._owners: dict[int, Trial] = {}
        self._looked = self._crowded = time.monotonic()

    def of(self, trial: Trial) -> list[int]:
        """Return the pids that count for a trial."""
        state = trial.state
        if state is None:
            return []
        for pid in descendants(state.pid):
            self._owners.setdefault(pid, trial)
        living = set(self.supervisor.inside())
        return [state.pid, *(pid for pid, owner in self._owners.items() if owner is trial and pid in living)]

    @property
    def strays(self) -> list[int]:
        """The pids that came since and belong to no trial."""
        own = {t.state.pid for t in self.trials if t.state is not None}
        known = self.before | own | set(self._owners)
        return [pid for pid in self.supervisor.inside() if pid not in known]

    def disputed(self) -> bool:
        """Tell whether all together use up what belongs to all; looks now and then only."""
        now = time.monotonic()
        if now - self._looked < WATCH:
            return False
        self._looked = now
        if len(self.supervisor.inside()) < self.policy.processes - 8:
            self._crowded = now
        limit, alone = self.policy.memory, sum(t.state is not None for t in self.trials) < 2
        if alone and not self.strays:
            return False
        used = memory([*self.strays, *(pid for t in self.trials for pid in self.of(t))], limit)
        return now - self._crowded > CROWDED or used + self.supervisor.kernel_memory() > limit


class Aside:
    """Executes code in copies of a point; the live state is unchanged.

    Parameters
    ----------
    supervisor : Supervisor
        Whose processes they are; whoever calls has it for himself.
    slots : Slots
        Bounds how many candidates run at one time.
    """

    def __init__(self, supervisor: Supervisor, slots: Slots) -> None:
        self.supervisor, self.slots = supervisor, slots
        self._running: Sequence[Trial] = ()
        self._stopping = False

    def stop(self) -> None:
        """Stop all that is executed here, and begin nothing that waits; from any thread."""
        self._stopping = True
        for trial in list(self._running):
            if trial.execution is not None:
                trial.execution.stop("Interrupted")

    # -- rehearsals -------------------------------------------------------------------------------

    def rehearse(
        self, point: Point, cells: Sequence[str], values: dict[str, Any] | None, policy: SandboxPolicy
    ) -> list[Observation]:
        """Execute `cells` in one copy of `point`, up to the first error, and throw that away."""
        self._stopping = False
        while (seen := self._rehearse(point, cells, values, policy)) is None:
            self.supervisor.end(point, HUNG)
        return seen

    def _rehearse(
        self, point: Point, cells: Sequence[str], values: dict[str, Any] | None, policy: SandboxPolicy
    ) -> list[Observation] | None:
        """Do the same once; None where the copy was found to be of no use."""
        supervisor = self.supervisor
        files = self._go_to_files(point)
        state = self.copy(point)
        before = supervisor.users()
        seen: list[Observation] = []
        try:
            if values:
                state.give(pack(values))
            for code in cells:
                trial = Trial(code, state)
                seen.append(self._alone(trial, policy))
                if trial.hung:
                    return None
                if seen[-1].error is not None:
                    break
        except (Gone, gate.Violation) as error:
            raise SandboxDied(f"A copy of the state was lost: {error}.") from error
        finally:
            with uninterrupted():
                state.kill()
                state.bury()
                supervisor.sweep(before)
                supervisor.put_back(files)
        return seen

    def _go_to_files(self, point: Point) -> Files | None:
        """Make the files those of `point`; returns what they were."""
        supervisor = self.supervisor
        supervisor.insure()
        files = supervisor.kept_files()
        try:
            supervisor.restore_files(point)
        except (Gone, gate.Violation) as error:
            raise SandboxDied(f"The files of a state could not be put back: {error}.") from error
        return files

    def _alone(self, trial: Trial, policy: SandboxPolicy) -> Observation:
        """Execute in a state beside the live one, where all that comes meanwhile counts for it."""
        assert trial.state is not None
        before = set(self.supervisor.inside()) - {trial.state.pid}
        others = lambda: [pid for pid in self.supervisor.inside() if pid not in before]  # noqa: E731
        execution = trial.execution = Execution(trial.state, policy, others, self.supervisor.kernel_memory)
        self._running, self.supervisor.beside = [trial], 1
        try:
            return list(execution.run(trial.code))[-1]
        finally:
            self._running, self.supervisor.beside = (), 0

    # -- candidates -------------------------------------------------------------------------------

    def try_out(
        self, point: Point, codes: Sequence[str], policy: SandboxPolicy
    ) -> Generator[Seen, None, list[tuple[Observation, Point]]]:
        """Execute each of `codes` in a copy of `point`, yielding what was seen of each, and whether it has ended.

        All run side by side. Where that lets one of them meet what another does (files that it writes, room that it
        takes from all), the whole is done again one after the other, each from the same beginning. Returns each one's
        observation and the point after it, of which the caller is the first user.
        """
        trials = [Trial(code) for code in codes]
        self._stopping = False
        files = self._go_to_files(point)
        try:
            alike = yield from self._side_by_side(point, trials, policy)
            if alike:
                return self._collect(point, trials)
            if any(trial.hung for trial in trials):
                self.supervisor.end(point, HUNG)
            return (yield from self._in_turn(point, trials, policy))
        except (Gone, gate.Violation) as error:
            raise SandboxDied(f"A copy of the state was lost: {error}.") from error
        finally:
            self._running = ()
            with uninterrupted():
                self.supervisor.put_back(files)

    def _side_by_side(self, point: Point, trials: list[Trial], policy: SandboxPolicy) -> Generator[Seen, None, bool]:
        """Execute all at one time; returns False where they got into each other's way, and nothing is left then."""
        supervisor, kept, alike = self.supervisor, False, False
        before = supervisor.users()
        try:
            with uninterrupted():
                self._fork(point, trials)
            shares = Shares(supervisor, policy, trials)
            self._running, supervisor.beside = trials, len(trials)
            yield [(t.observation, t.over) for t in trials]
            alike = yield from self._watch(trials, shares, policy)
            if alike:
                self._settle(trials, before)
            kept = alike
            if alike and not supervisor.unwritten(point):
                alike = kept = self._stopping  # then nobody knows whose files they are
                for trial in trials:
                    trial.discard()
                    trial.why = "it was stopped beside others, and files were written meanwhile"
        finally:
            supervisor.beside = 0
            if not kept:
                self._clear(trials, before)
                self.supervisor.restore_files(point)
        return alike

    def _watch(self, trials: list[Trial], shares: Shares, policy: SandboxPolicy) -> Generator[Seen, None, bool]:
        """Let the trials run, as many at one time as there are slots; False if they get into each other's way."""
        stopped = False
        while not all(t.over for t in trials):
            try:
                self._begin(trials, shares, policy)
                ready = arrived(fd for t in trials if t.running and t.execution for fd in t.execution.fds)
                grown = [t.look(ready) for t in trials if t.running]
                if any(grown):
                    yield [(t.observation, t.over) for t in trials]
                if shares.disputed():
                    return False
            except KeyboardInterrupt:
                stopped = True
                self.stop()
        if stopped:
            raise KeyboardInterrupt
        alone = len(trials) == 1
        return self._stopping or not any(t.hung or (not alone and (t.struck or _short(t.observation))) for t in trials)

    def _begin(self, trials: list[Trial], shares: Shares, policy: SandboxPolicy) -> None:
        """Begin those that wait, as far as there are slots; one may always run."""
        for trial in trials:
            if trial.execution is not None or trial.over:
                continue
            if self._stopping:
                trial.end(Observation(error=STOPPED))
                continue
            others = [t for t in trials if t.running]
            slot = self.slots.take() if any(t.slot is None for t in others) else None
            if slot is None and any(t.slot is None for t in others):
                return
            assert trial.state is not None
            own = lambda trial=trial: shares.of(trial)  # noqa: E731
            trial.begin(Execution(trial.state, policy, own, lambda: 0), slot)

    def _in_turn(
        self, point: Point, trials: list[Trial], policy: SandboxPolicy
    ) -> Generator[Seen, None, list[tuple[Observation, Point]]]:
        """Execute one after the other."""
        found: list[tuple[Observation, Point]] = []
        again = [trial.again() for trial in trials]
        try:
            for trial in again:
                self._one(point, trial, policy)
                with uninterrupted():
                    files = self.supervisor.kept_files()
                    found += self._collect(point, [trial])
                    found[-1][1].files = files
                    self.supervisor.restore_files(point)
                yield [(t.observation, t.over) for t in again]
        except BaseException:
            for _, made in found:
                self.supervisor.release(made)
            raise
        return found

    def _one(self, point: Point, trial: Trial, policy: SandboxPolicy) -> None:
        """Execute one trial while no other runs; nothing of it is left where that is interrupted."""
        if self._stopping:
            trial.end(Observation(error=STOPPED))
            return
        before = self.supervisor.users()
        kept = False
        try:
            trial.state = self.copy(point)
            seen = self._alone(trial, policy)
            while trial.hung and not self._stopping:
                trial.discard()
                self.supervisor.end(point, HUNG)
                trial.state = self.copy(point)
                seen = self._alone(trial, policy)
            trial.end(seen)
            self._settle([trial], before)
            kept = True
        finally:
            if not kept:
                self._clear([trial], before)

    def _fork(self, point: Point, trials: list[Trial]) -> None:
        """Give each trial a copy of `point`, none of which can hurt the others, the points, or the live state."""
        supervisor = self.supervisor
        supervisor.insure()
        for trial, state in zip(trials, forks(point, len(trials)), strict=True):
            trial.state = state
        for trial in trials:
            trial.state = trial.state or self.copy(point)
        live = [supervisor.live] if supervisor.live is not None else []
        states = [*live, *(t.state for t in trials if t.state is not None)]
        begun = [(s, s.begin_shield([*supervisor.protected(), *(o for o in states if o is not s)])) for s in states]
        for state, shielding in begun:
            state.end_shield(shielding)

    def copy(self, point: Point) -> State:
        """Return an active copy of `point` beside the live state."""
        supervisor = self.supervisor
        supervisor.insure()
        with uninterrupted():
            live = supervisor.live
            try:
                supervisor.bring_up(point)
                if live is not None and supervisor.live is not None:
                    supervisor.live.shield([live])
            except (Gone, gate.Violation) as error:
                raise SandboxDied(f"A copy of the state could not be made: {error}.") from error
            finally:
                copy, supervisor.live = supervisor.live, live
        assert copy is not None
        return copy

    def _collect(self, point: Point, trials: Sequence[Trial]) -> list[tuple[Observation, Point]]:
        """Return what was seen of each trial, and the point after it."""
        supervisor = self.supervisor
        found = []
        with uninterrupted():
            for trial in trials:
                made = Point(trial.state, (*point.log, Cell(trial.code)), uses=1, why=trial.why, files=point.files)
                if made.state is None and (base := supervisor.nearest(made)) is not supervisor.origin:
                    made.base = base
                    base.uses += 1
                supervisor.points.append(made)
                found.append((trial.observation, made))
            states = [made.state for _, made in found if made.state is not None]
            if supervisor.live is not None:
                supervisor.live.shield(states)
            supervisor.trim()
        return found

    def _settle(self, trials: Sequence[Trial], before: Sequence[int]) -> None:
        """End all that the trials have left running; nothing goes on in the processes that are kept."""
        with uninterrupted():
            for trial in trials:
                self._still(trial)
            self.supervisor.sweep([*before, *(t.state.pid for t in trials if t.state is not None)])

    def _still(self, trial: Trial) -> None:
        """Make sure that nothing goes on in a trial's process: a copy takes the place of one that has threads.

        Where a copy would not be the same, there is none, and going on from there runs the code again.
        """
        state = trial.state
        if state is None:
            trial.why = trial.why or "its process ended"
            return
        if not descendants(state.pid) and threads(state.pid) == 1:
            return
        trial.state = None
        try:
            copy = state.fork()
            trial.why = copy.unsafe
            if copy.unsafe:
                trial.why = copy.unsafe
                copy.kill()
                copy.bury()
            else:
                trial.state = copy
        except (Gone, gate.Violation) as error:
            trial.why = str(error)
        state.kill()
        state.bury()

    def _clear(self, trials: Sequence[Trial], before: Sequence[int]) -> None:
        """End the trials and all that they started."""
        with uninterrupted():
            for trial in trials:
                trial.discard()
            self.supervisor.sweep(before)


def forks(point: Point, count: int) -> list[State | None]:
    """Return `count` copies of a point's process, made all at once; None for those that there is no room for."""
    made: list[State | None] = []
    parent = point.state
    if parent is None or not point.usable:
        return [None] * count
    begun = [parent.begin_fork() for _ in range(count)]
    try:
        for child in begun:
            answer = parent.wait("forked", "refused")
            if answer["op"] == "refused":
                child.close()
            made.append(child if answer["op"] == "forked" else None)
            if answer["op"] == "forked":
                child.greet(answer)
    except (Gone, gate.Violation):
        for child in begun:
            child.kill()
            child.close()
        raise
    return made


def threads(pid: int) -> int:
    """Return how many threads a process has; 0 where it is gone."""
    try:
        return int(status(pid)["Threads"])
    except (OSError, KeyError):
        return 0


def _short(observation: Observation) -> bool:
    """Tell whether code failed for lack of something that others beside it may have used up."""
    error = observation.error
    return error is not None and bool(SHARED.search(f"{error.ename}: {error.evalue}"))


def check_code(code: object) -> None:
    """Raise WrongUse if what is to be executed is no text."""
    if not isinstance(code, str):
        raise WrongUse(f"The code is of the type {type(code).__name__}; give Python as text.")


def last(trial: Iterator[Seen]) -> Any:
    """Return what a generator returns."""
    while True:
        try:
            next(trial)
        except StopIteration as end:
            return end.value
