"""Who follows a request run while it is under way: its plans, the workers' words as they come, the ends of steps."""

from __future__ import annotations

from models.conductor.run.request import StepRecord
from models.ledger.plans import StoredPlan


class Watch:
    """Follows one request run, and here does nothing with it. Its methods return immediately, and raise nothing.

    `listens`: whether the workers' words are wanted as they come; else each worker sends its reply whole. `told`:
    whether words of the answer have reached a client for whom no other answer can follow: none is asked for then.
    """

    listens = False

    @property
    def told(self) -> bool:
        return False

    def planned(self, workflow: str, plan: StoredPlan) -> None:
        """A round is planned. `workflow`: its id."""

    def began(self, step: StepRecord, answers: bool) -> None:
        """A worker is about to be asked, not for the first time where it was asked in vain.

        `answers`: whether its reply is surely the answer to the request.
        """

    def said(self, step: StepRecord, text: str) -> None:
        """A piece of the reply to what `began` last."""

    def ended(self, step: StepRecord) -> None:
        """The step is done, or waits for the client's tools."""
