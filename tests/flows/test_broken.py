from __future__ import annotations

import asyncio, time, faulthandler
import pytest
from flows.conduct import conduct
from models.conductor.run.step_run import StepRun
from models.conductor.run.recorded import RecordedRun
from models.conductor.run.state import RunState

PLAN = """
model_id = [0, 3, 0]
subtasks = ["What is 17 * 24 + 5?", "Count the letters of Prefect", "Answer the user's question"]
access_list = [[], [], ["all"]]
"""
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("name", ["meaning", "walk", "read", "end", "messages", "replies"])
async def test_broken(home, monkeypatch, name):
    faulthandler.dump_traceback_later(100)
    (home / "plan.txt").write_text(PLAN)
    fixed = f"fixed:{home / 'plan.txt'}"
    monkeypatch.delattr(StepRun, name)
    t = time.time()
    try:
        print(">>", name, await asyncio.wait_for(conduct(["What is 17 * 24 + 5?"], conductor=fixed), 60), time.time() - t, flush=True)
    except BaseException as error:
        print(">>", name, repr(error)[:200], time.time() - t, flush=True)
    faulthandler.cancel_dump_traceback_later()
