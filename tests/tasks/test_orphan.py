"""A process of a cluster ends with the flow's process, also where that is killed."""

from __future__ import annotations

import subprocess
import sys

FLOW = """
import multiprocessing, time
from tasks import orphan

def work(ready):
    orphan.dask_setup(None)
    ready.put(True)
    time.sleep(600)

if __name__ == "__main__":
    here = multiprocessing.get_context("spawn")
    ready = here.Queue()
    here.Process(target=work, args=(ready,)).start()
    ready.get()
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_process_whose_flow_is_killed_ends(tmp_path):
    (tmp_path / "flow.py").write_text(FLOW)
    flow = subprocess.Popen([sys.executable, str(tmp_path / "flow.py")], stdout=subprocess.PIPE, text=True)
    assert flow.stdout.readline() == "ready\n"
    flow.kill()
    assert flow.stdout.read() == ""  # until the last process that has it open has ended
    flow.wait()
