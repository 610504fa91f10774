"""coder's tool calls and JSON: what it finds in a text, and what it refuses."""

import json

import pytest
from jsonschema import Draft202012Validator

from models.errors import BadInput, UpstreamRefused
from models.house.handler import register
from models.house.provider import complete, honours, refused
from models.house.workers.coder import FIELDS, shaped
from models.workers.ask import Ask, Sampling
from models.workers.client import Client
from models.workers.pool import Pool, Worker

TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
TEXTS, WHOLES = ({"type": "array", "items": items} for items in (TEXT, WHOLE))


def asked(text):
    return [{"role": "user", "content": text}]


def of(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def tool(name, description, parameters=None):
    function = {"name": name, "description": description}
    return {"type": "function", "function": function | ({"parameters": parameters} if parameters else {})}


def as_json(text, schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = json.loads(shaped(asked(text), {"response_format": wanted}, None))
    assert Draft202012Validator(schema).is_valid(found)
    return found


PLACE = of(location={"type": "string", "description": "City and country e.g. Bogotá, Colombia"})
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
WEATHER = tool("get_weather", "Get current temperature for a given location.", PLACE)
SUMS = tool("add", "Add two numbers", of(a=NUMBER, b=NUMBER))
PRODUCTS = tool("multiply", "Multiply two numbers", of(a=NUMBER, b=NUMBER))


@pytest.mark.parametrize(
    ("text", "tools", "name", "arguments"),
    [
        ("What is the weather like in Paris today?", [WEATHER], "get_weather", {"location": "Paris"}),
        ("what's the weather in paris", [WEATHER], "get_weather", {"location": "Paris"}),
        ("How is the weather in Boston, MA?", [SUMS, WEATHER], "get_weather", {"location": "Boston, MA"}),
        ("Add 3 and 4.5", [WEATHER, PRODUCTS, SUMS], "add", {"a": 3, "b": 4.5}),
        ("Multiply 3 by 4", [SUMS, PRODUCTS], "multiply", {"a": 3, "b": 4}),
        ("What time is it?", [tool("get_time", "The time of day")], "get_time", {}),
        ("Use the calculator for 12*(3+4)", [tool("calculator", "", of(expression=TEXT))], "calculator",
         {"expression": "12*(3+4)"}),
        ("Mail ada@example.com the news", [tool("sendMail", "Sends mail", of(email=TEXT))], "sendMail",
         {"email": "ada@example.com"}),
        ("The weather in Rome, in fahrenheit", [tool("weather", "", of(city=TEXT, unit=UNIT))], "weather",
         {"city": "Rome", "unit": "fahrenheit"}),
        ("The weather in Rome", [tool("weather", "", of(city=TEXT, unit=UNIT))], "weather",
         {"city": "Rome", "unit": "celsius"}),
    ],
)  # fmt: skip
def test_it_calls_the_tool_that_the_question_speaks_of_with_what_the_question_states(text, tools, name, arguments):
    call = shaped(asked(text), {"tools": tools}, None)
    assert (call.name, json.loads(call.arguments)) == (name, arguments)


def test_without_a_fitting_tool_it_answers_by_itself_unless_it_must_call_one():
    assert shaped(asked("What is 17 * 23?"), {"tools": [WEATHER]}, None).endswith("Answer: 391")
    assert shaped(asked("The weather in Oslo"), {"tools": [WEATHER], "tool_choice": "none"}, None).endswith(".")
    named = {"type": "function", "function": {"name": "multiply"}}
    assert shaped(asked("3 and 4"), {"tools": [SUMS, PRODUCTS], "tool_choice": named}, None).name == "multiply"
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        with pytest.raises(BadInput, match="does not state what get_weather needs") as error:
            shaped(asked("Hello!"), {"tools": [WEATHER], "tool_choice": choice}, None)
        assert error.value.field == "tool_choice"


def test_the_results_of_tools_are_the_answer_and_may_be_put_in_a_form():
    calls = [{"id": str(n), "type": "function", "function": {"name": "get_weather", "arguments": "{}"}} for n in (1, 2)]
    turns = [*asked("The weather in Oslo and Rome?"), {"role": "assistant", "content": None, "tool_calls": calls}]
    turns += [{"role": "tool", "tool_call_id": str(n), "content": f"{10 * n} degrees"} for n in (1, 2)]
    assert shaped(turns, {"tools": [WEATHER], "tool_choice": "required"}, None) == "10 degrees\n20 degrees"
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": of(degrees=WHOLES)}}
    assert json.loads(shaped(turns, {"tools": [WEATHER], "response_format": wanted}, None)) == {"degrees": [10, 20]}


STEP = of(explanation=TEXT, output=TEXT)
STEPS = of(steps={"type": "array", "items": {"$ref": "#/$defs/Step"}}, final_answer=TEXT) | {"$defs": {"Step": STEP}}


@pytest.mark.parametrize(
    ("text", "schema", "found"),
    [
        ("Alice and Bob are going to a science fair on Friday.", of(name=TEXT, date=TEXT, participants=TEXTS),
         {"name": "science fair", "date": "Friday", "participants": ["Alice", "Bob"]}),
        ("John is 30 years old and lives in Berlin.", of(name=TEXT, age=WHOLE, city=TEXT),
         {"name": "John", "age": 30, "city": "Berlin"}),
        ("I bought 3 apples and 14 pears for $20.50", of(apples=WHOLE, pears=WHOLE, price=NUMBER),
         {"apples": 3, "pears": 14, "price": 20.5}),
        ("Name: Ada Lovelace, born: 1815", of(name=TEXT, born=WHOLE), {"name": "Ada Lovelace", "born": 1815}),
        ("The ticket is pending since 14 July 2024", of(status={"enum": ["open", "pending"]}, date=TEXT),
         {"status": "pending", "date": "14 July 2024"}),
        ("Write to ada@example.com", of(email=TEXT, phone={"anyOf": [TEXT, {"type": "null"}]}),
         {"email": "ada@example.com", "phone": None}),
        ("Which do you like: red, green and blue?", of(colors=TEXTS), {"colors": ["red", "green", "blue"]}),
        ("Sort these numbers: 5, 3, 9, 1", of(sorted=WHOLES), {"sorted": [1, 3, 5, 9]}),
        ("What is the largest of 5, 19, 3?", of(result=WHOLE), {"result": 19}),
        ("Solve 3x + 7 = 22 for x.", STEPS,
         {"steps": [{"explanation": "I ran this as a small program.", "output": "5"}], "final_answer": "5"}),
    ],
)  # fmt: skip
def test_json_has_what_the_text_states_or_what_coder_worked_out(text, schema, found):
    assert as_json(text, schema) == found


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("I love this!", of(sentiment={"enum": ["positive", "negative"]})),
        ("Tell me a joke.", of(setup=TEXT, punchline=TEXT)),
        ("There are 3 chairs and 2 tables in room 5.", of(age=WHOLE)),
        ("It is 30.5 degrees", of(age=WHOLE)),
        ("a" * 30, of(name={"type": "string", "pattern": "(a+)+$"})),
        ("Name: Ada", of(name={"$ref": "http://example.com/name.json"})),
        ("Name: Ada", {"$ref": "#"}),
        ("Name: Ada", of(name=TEXT) | {"if": {}}),
        ("Name: Ada, " * 1000, of(name=TEXT)),
    ],
)
def test_what_the_text_does_not_state_is_not_made_up(text, schema):
    with pytest.raises(BadInput) as error:
        as_json(text, schema)
    assert error.value.field == "response_format"


def test_only_coder_shapes_its_replies_and_no_program_minds_effort():
    assert all(honours("house/coder", field) and not honours("house/calc", field) for field in FIELDS)
    assert honours("house/sage", "reasoning_effort") and not honours("house/coder", "logit_bias")
    fields = {"response_format": {"type": "json_object"}}
    assert refused("house/coder", asked("What is 17*23?"), fields) is None
    assert refused("house/coder", asked("Tell me a joke."), fields).field == "response_format"
    assert complete("coder", asked("What is 17*23?"), fields).text == '{"answer": 391}'


async def test_it_all_comes_through_the_client():
    register()
    client = Client(Pool(name="h", workers=(Worker(name="coder", model="house/coder"),)))

    def ask(text, **fields):
        sampling = Sampling(reasoning_effort="high", **fields)
        return Ask(scope="s", worker="coder", revision="1", messages=tuple(asked(text)), sampling=sampling)

    weather = ask("The weather in Oslo", tools=(WEATHER,), tool_choice="auto", parallel_tool_calls=False)
    whole = await client.complete(weather)
    [call] = whole.tool_calls
    assert whole.finish_reason == "tool_calls" and call["function"]["arguments"] == '{"location": "Oslo"}'
    streamed = [chunk async for chunk in client.stream(weather)][-1].reply
    assert streamed.tool_calls == whole.tool_calls and streamed.usage == whole.usage
    with pytest.raises(UpstreamRefused, match="response_format"):
        await client.complete(ask("Tell me a joke.", response_format={"type": "json_object"}))
    await client.close()
