# /// script
# dependencies = ["smolagents[openai]"]
# ///
"""smolagents: its model, and an agent that calls a tool."""

from smolagents import OpenAIModel, Tool, ToolCallingAgent
from telling import API_KEY, BASE_URL, tell

model = OpenAIModel(model_id="fugu", api_base=BASE_URL, api_key=API_KEY)


class Weather(Tool):
    name = "get_weather"
    description = "The weather at a place."
    inputs = {"location": {"type": "string", "description": "a city"}}  # noqa: RUF012 - as its documentation has it
    output_type = "string"

    def forward(self, location: str) -> str:
        return f"14 degrees in {location}"


def whole() -> None:
    """an answer with stops"""
    said = model.generate(
        [{"role": "user", "content": [{"type": "text", "text": "hello"}]}], stop_sequences=["Observation:"]
    )
    assert said.content == "You said: hello", said


def stream() -> None:
    """a stream"""
    pieces = model.generate_stream([{"role": "user", "content": [{"type": "text", "text": "hello"}]}])
    assert "".join(piece.content or "" for piece in pieces) == "You said: hello"


def agent() -> None:
    """an agent that calls a tool"""
    found = []
    weather = Weather()
    weather.forward = lambda location: found.append(location) or f"14 degrees in {location}"
    agent = ToolCallingAgent(tools=[weather], model=model, max_steps=2, verbosity_level=0)
    agent.run('the weather? CALL get_weather {"location": "Paris"}')
    assert "Paris" in found, found


if __name__ == "__main__":
    tell("smolagents", "smolagents", whole, stream, agent)
