# /// script
# dependencies = ["instructor", "openai"]
# ///
"""instructor: a type as the answer, through tools and through JSON by a schema."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from telling import API_KEY, BASE_URL, tell

HELLO = [{"role": "user", "content": "who?"}]


class Person(BaseModel):
    name: str
    age: int


def asked(mode: instructor.Mode) -> None:
    client = instructor.from_openai(OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0), mode=mode)
    found = client.chat.completions.create(model="fugu", messages=HELLO, response_model=Person)
    assert isinstance(found, Person) and found.model_dump() == {"name": "Ada", "age": 7}, found


def by_tools() -> None:
    """a type through a tool"""
    asked(instructor.Mode.TOOLS)


def by_schema() -> None:
    """a type through a JSON schema"""
    asked(instructor.Mode.JSON_SCHEMA)


if __name__ == "__main__":
    tell("instructor", "instructor", by_tools, by_schema)
