"""`fugu pool check` of workers with several keys, against a real upstream."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from answering import answering

from models.ledger.providers.breakers import open_breaker, open_breakers
from tasks.setup.settings import open_ledger


def test_each_key_is_tried_and_has_a_line_and_its_own_breaker(run, cli_home: Path, monkeypatch, tmp_path) -> None:
    keys = {"KEY_A": "sk-a", "KEY_B": "sk-revoked", "KEY_C": "sk-c"}
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    with answering({"m": lambda text: "1 2 3 4"}, refused={"sk-revoked"}) as (url, asked):
        both = {"name": "both", "model": "openai/m", "api_base": url, "price": {}, "key_env": list(keys)}
        one = both | {"name": "one", "key_env": "KEY_A"}
        file = tmp_path / "pool.yaml"
        file.write_text(yaml.safe_dump({"workers": [one]}))
        status, out, _ = run("pool", "check", str(file))
        assert status == 0 and out.count("  ping      answered in") == 1
        ledger = open_ledger()
        for name in keys:
            open_breaker(ledger, "both", name, "quota exhausted", None)
        file.write_text(yaml.safe_dump({"workers": [one, both]}))
        status, out, _ = run("pool", "check", str(file))
    assert status == 1 and asked["m"] == 1 + 1 + 3
    lines = [line for line in out.splitlines() if line.startswith("  ping ")]
    assert [line.split()[1] for line in lines] == ["answered", "KEY_A", "KEY_B", "KEY_C"]
    assert "KEY_B FAILED: UpstreamRefused" in lines[2] and "KEY_C answered in" in lines[3]
    assert [row.key for row in open_breakers(ledger)] == ["KEY_B"]
    assert not any(key in out for key in keys.values())
    ledger.close()


@pytest.mark.parametrize("words", [[], ["--offline"]])
def test_one_missing_key_among_several_is_named_and_nothing_is_asked(run, monkeypatch, tmp_path, words) -> None:
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.delenv("KEY_B", raising=False)
    with answering({"m": lambda text: "1"}) as (url, asked):
        worker = {"name": "w", "model": "openai/m", "api_base": url, "price": {}, "key_env": ["KEY_A", "KEY_B"]}
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"workers": [worker]}))
        monkeypatch.setenv("FUGU_HOME", str(tmp_path / "home"))
        status, out, _ = run("pool", "check", str(tmp_path / "pool.yaml"), *words)
    assert status == 1 and "KEY_B" in out and not asked
