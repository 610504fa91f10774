"""See that a flow run or one of its subflows is to be cancelled, and let what was sent be settled.

Prefect's worker sends SIGTERM to a cancelled run's process some seconds later, which would leave its tasks Crashed, and
it reaches no subflow. So the flow's own process looks: requests of a cancelled run are marked in the ledger, where all
processes that work on them see it, send nothing new, and end.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from types import FrameType
from uuid import UUID

from prefect import flow_engine
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled
from prefect.utilities import engine as bridge

from models.ledger.requests import note_cancelled
from models.ledger.store import Ledger
from tasks.setup.process import cancel_work

STOPPED = FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])

LOOK_S = 1.0
"""Seconds between two looks at the Prefect server."""

GRACE_S = 15.0
"""How long tasks may go on after SIGTERM: half of the time until Prefect's worker kills the process."""

log = logging.getLogger(__name__)


async def cancelled_of(client: PrefectClient, runs: Sequence[UUID]) -> list[UUID]:
    """Those of these flow runs that are to be cancelled, or are cancelled."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=STOPPED), id=FlowRunFilterId(any_=list(runs)))
    return [run.id for run in await client.read_flow_runs(flow_run_filter=wanted)]


class Cancelling:
    """Which requests of a flow run are to be cancelled. `all`: the whole run is; `terminated`: by SIGTERM alone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._requests: set[str] = set()
        self._woken = asyncio.Event()
        self.all = self.terminated = False

    @contextmanager
    def of(self, request: str) -> Iterator[None]:
        """While the request is run, in a subflow that has its id as a parameter."""
        self._requests.add(request)
        try:
            yield
        finally:
            self._requests.discard(request)

    def terminate(self) -> None:
        """The process got SIGTERM: nothing new is sent."""
        self.terminated = self.terminated or not self.all
        self.all = True
        self._woken.set()

    async def watch(self) -> None:
        """Look until cancelled. A server that does not answer is asked again."""
        context = FlowRunContext.get()
        own = context.flow_run if context is not None else None
        async with get_client() as client:
            while own is not None:
                if self.all:
                    await self._mark(self._requests)  # at once, before the server is asked again
                try:
                    asked = await self._asked(client, own)
                    await self._mark(self._requests if self.all else self._requests & asked)
                except Exception as error:
                    log.warning("whether this run is to be cancelled cannot be seen: %s", type(error).__name__)
                await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._woken.wait()
        self._woken.clear()

    async def _asked(self, client: PrefectClient, own: FlowRun) -> set[str]:
        """The requests whose subflows are to be cancelled; notes where the whole run is."""
        # An earlier run's subflow may have been cancelled with the same request.
        begun = FlowRunFilterStartTime(after_=own.start_time)
        wanted = FlowRunFilter(state=FlowRunFilterState(type=STOPPED), start_time=begun)
        asked = set[str]()
        for run in await client.read_flow_runs(flow_run_filter=wanted):
            if run.id == own.id:
                self.all, self.terminated = True, False
            else:
                asked.add(str((run.parameters.get("of") or {}).get("request")))
        return asked

    async def _mark(self, requests: Collection[str]) -> None:
        for request in sorted(requests):
            await asyncio.to_thread(self._write, request)

    def _write(self, request: str) -> None:
        with self._ledger.transaction() as connection:
            note_cancelled(request)(connection, self._ledger.now(connection))


@asynccontextmanager
async def watched(ledger: Ledger) -> AsyncIterator[Cancelling]:
    """Watch the current flow run. Raises Prefect's TerminationSignal at the end if SIGTERM came without a
    cancellation: the run has crashed then.
    """
    cancelling = Cancelling(ledger)
    with _on_sigterm(cancelling.terminate):
        watch = asyncio.create_task(cancelling.watch())
        try:
            yield cancelling
        finally:
            watch.cancel()
            await asyncio.wait([watch])
    if cancelling.terminated:
        raise TerminationSignal(signal.SIGTERM)


@contextmanager
def unwound() -> Iterator[None]:
    """SIGTERM cancels the flow that is here, and with it all of its subflows, each of which then ends Cancelled, or
    Crashed where nobody cancelled the run: Prefect's worker sends the signal to the process of a cancelled run.

    Prefect's own handler raises wherever the process happens to be. That ends one subflow, and the flow waits for the
    others until it is killed; they would be shown as running for ever. Tasks have `GRACE_S` seconds to end.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end() -> None:
        late = threading.Timer(GRACE_S, cancel_work)
        late.daemon = True
        late.start()
        if task is not None:
            task.cancel()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(end)

    prefects = bridge._prefect_sigterm_handler
    if signal.getsignal(signal.SIGTERM) is not prefects:  # no run of a flow, or not in the main thread
        yield
        return
    # In its place: Prefect looks whether its handler is there before it says that the run is to be cancelled.
    bridge._prefect_sigterm_handler = handle  # type: ignore[assignment]
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        bridge._prefect_sigterm_handler = prefects
        signal.signal(signal.SIGTERM, prefects)


async def end_cancelled_subflows() -> None:
    """Set what somebody cancels while this run is under way, a subflow without a process of its own, to Cancelled: once
    it has ended it would stay Cancelling, since Prefect refuses any other end.
    """
    context = FlowRunContext.get()
    own = context.flow_run if context is not None else None
    if own is None:
        return
    cancelling = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
    wanted = FlowRunFilter(state=cancelling, start_time=FlowRunFilterStartTime(after_=own.start_time))
    with suppress(Exception):  # a server that does not answer: `fugu up` ends them when it starts
        async with get_client() as client:
            for run in await client.read_flow_runs(flow_run_filter=wanted):
                if run.parent_task_run_id is not None:
                    state: State[None] = Cancelled(message="It was cancelled, and its flow has ended.")
                    await client.set_flow_run_state(run.id, state, force=True)


@contextmanager
def _on_sigterm(do: Callable[[], object]) -> Iterator[None]:
    """In place of Prefect's handlers, that of each subflow too, which raise in the middle of whatever is done."""
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(do)

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    captured = flow_engine.capture_sigterm
    flow_engine.capture_sigterm = nullcontext  # type: ignore[assignment]
    try:
        yield
    finally:
        flow_engine.capture_sigterm = captured
        signal.signal(signal.SIGTERM, before)
