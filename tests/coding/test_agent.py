"""Agents as entries of a file: what is filled in, and what is refused."""

import pytest
import yaml

from models.coding.agent import URL, Agent, load_agent
from models.errors import BadFile
from models.grading.repository import load_task
from tasks.setup.settings import PROJECT

FILE = PROJECT / "data" / "agents.yaml"
TASK = load_task(PROJECT / "data" / "repositories" / "fines")


@pytest.mark.parametrize("name", yaml.safe_load(FILE.read_text()))
def test_a_shipped_agent_is_told_what_and_where(name):
    agent = load_agent(FILE, name)
    command, home = agent.at_work(TASK, "fugu"), agent.at_home("fugu")
    assert command.argv[-1] == TASK.instruction and agent.environment("fugu")["OPENAI_BASE_URL"] == URL
    told = [*home.values(), *(value.encode() for value in agent.env.values())]
    assert name == "scripted" or any(URL.removesuffix("/v1").encode() in text for text in told)
    assert not any(b"{model}" in text or b"{url}" in text for text in home.values())
    assert all(path.exists() for path in agent.paths())


def test_what_is_filled_in_is_not_filled_again():
    task = TASK.model_copy(update={"instruction": "write {check} and {model} {}", "check": "true"})
    agent = Agent(command=("a", "{instruction}", "{check}", "{other}", "{", "}"))
    words = ["a", "write {check} and {model} {}", "true", "{other}", "{", "}"]
    assert agent.at_work(task, "fugu").argv == words


def test_two_agents_that_differ_have_different_digests():
    one = Agent(command=("a",))
    assert one.digest == Agent(command=("a",)).digest != Agent(command=("a",), revision="2").digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: {command: [a]}", "no agent 'mine'; there are other"),
        ("mine: {command: []}", "mine.command"),
        ("mine: {command: [a], typo: 1}", "mine.typo"),
        ("mine:\n  command: [a]\nmine: {command: [b]}", "agents.yaml:3: the key 'mine' is already"),
        ("mine:\n  command: [a]\n  room: {wall_s: 1e9}", "agents.yaml:3: mine.room.wall_s"),
        ("[", "not YAML"),
        ("", "has to map names to agents"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(tmp_path, text, message):
    path = tmp_path / "agents.yaml"
    path.write_text(text)
    with pytest.raises(BadFile, match=message):
        load_agent(path, "mine")
