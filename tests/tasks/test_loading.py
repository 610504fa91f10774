"""What takes long to load is named in the log of whoever waits for it."""

from __future__ import annotations

import logging
import threading

from tasks import loading as loads
from tasks.loading import loading


def test_what_takes_long_is_named_while_it_loads_and_when_it_is_there(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(loads, "LONG_S", 0.01)
    said = threading.Event()
    info = loads.log.info
    monkeypatch.setattr(loads.log, "info", lambda *words: (info(*words), said.set()))
    with loading("backbone big"):
        assert said.wait(10)
    assert [record.getMessage() for record in caplog.records] == [
        "loading backbone big: this takes a while",
        "backbone big is loaded, after 0 s",
    ]


def test_what_is_quick_is_not_spoken_of(caplog):
    caplog.set_level(logging.INFO)
    with loading("backbone small"):
        pass
    assert caplog.records == [] and threading.active_count() < 50
