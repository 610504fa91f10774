"""Written workflows for the house's questions: what each step of a kind is told, in a few wordings.

Who is good at a step is not written here: that shows when plans are carried out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from models.conductor.plan.workflow import Access, Step, Workflow

_FIRST = {
    "capital": ("Find the capital of the country named in the question.", "Name the capital that the question means."),
    "atomic": ("Find the atomic number of the element in the question.", "Look up the element's atomic number."),
    "year": ("Find the year of the event in the question.", "In which year did the event happen? Look it up."),
    "letters": ("Count the letters of the word in the question.", "Find out how many letters the quoted word has."),
    "turned": ("Reverse the letters quoted in the question.", "Read the quoted letters backwards to get a name."),
    "solution": ("Solve the equation in the question.", "Find the unknown of the equation first."),
    "largest": ("Find the largest number of the list in the question.", "Pick the greatest value of the list."),
    "sum": ("Add the numbers in the question.", "Compute the sum that the question names."),
}
TWO_HOP: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "capital_length": (_FIRST["capital"], ("Count the letters of the result.", "How many letters has that result?")),
    "capital_reverse": (_FIRST["capital"], ("Write the result backwards.", "Reverse the letters of the result.")),
    "element_product": (
        _FIRST["atomic"],
        ("Multiply the result as the question asks.", "Compute the product with the earlier result."),
    ),
    "year_weekday": (
        _FIRST["year"],
        ("Find the weekday of the date in the resulting year.", "Name the day of the week, using the year found."),
    ),
    "year_sum": (_FIRST["year"], ("Add the question's number to the result.", "Compute the sum with that year.")),
    "letters_product": (
        _FIRST["letters"],
        ("Multiply the result as the question asks.", "Compute the product with the earlier result."),
    ),
    "reverse_capital": (
        _FIRST["turned"],
        ("Name the capital of the resulting country.", "Find the capital of the country that came out."),
    ),
    "solution_minutes": (
        _FIRST["solution"],
        ("Convert the result from hours to minutes.", "Express the earlier result in minutes."),
    ),
    "largest_fahrenheit": (
        _FIRST["largest"],
        ("Convert the result from Celsius to Fahrenheit.", "Express the earlier result in Fahrenheit."),
    ),
    "largest_kilometres": (
        _FIRST["largest"],
        ("Convert the result from miles to kilometres.", "Express the earlier result in kilometres."),
    ),
    "sum_element": (
        _FIRST["sum"],
        ("Name the element with the resulting atomic number.", "Look up which element has that number."),
    ),
}
_TWO_HOP_TASKS = {
    "capital_length": ("facts", "text"),
    "capital_reverse": ("facts", "text"),
    "element_product": ("facts", "arithmetic"),
    "year_weekday": ("facts", "units"),
    "year_sum": ("facts", "arithmetic"),
    "letters_product": ("text", "arithmetic"),
    "reverse_capital": ("text", "facts"),
    "solution_minutes": ("algebra", "units"),
    "largest_fahrenheit": ("lists", "units"),
    "largest_kilometres": ("lists", "units"),
    "sum_element": ("arithmetic", "facts"),
}
_GENERAL = ("Answer the question.", "Work out the answer to the question.")
_REVIEW = ("Check the earlier reply and give the final answer.", "Go over the result and answer the question.")
SINGLE_HOP: dict[str, tuple[str, ...]] = {
    "sum": ("Add the numbers.", "Compute the sum that is asked for."),
    "difference": ("Subtract one number from the other.", "Compute the difference."),
    "product": ("Multiply the two numbers.", "Compute the product."),
    "quotient": ("Divide one number by the other.", "Compute the quotient."),
    "remainder": ("Compute the remainder of the division.", "Find what the division leaves over."),
    "power": ("Compute the power.", "Raise the base to its exponent."),
    "percent": ("Compute the percentage.", "Work out the share in percent."),
    "expression": ("Evaluate the expression.", "Compute the value of the formula."),
    "linear": ("Solve the linear equation.", "Find the unknown of the equation."),
    "two_sided": ("Solve the equation for its unknown.", "Bring the unknown to one side and solve."),
    "riddle": ("Find the number that the riddle describes.", "Turn the riddle into an equation and solve it."),
    "system": ("Find the larger of the two numbers.", "Solve the two equations together."),
    "quadratic": ("Find the larger root of the polynomial.", "Solve the quadratic equation."),
    "value": ("Evaluate the polynomial at the given place.", "Put the value into the polynomial."),
    "sequence": ("Find the next number of the sequence.", "Continue the sequence by its rule."),
    "metric": ("Convert between the two metric units.", "Express the quantity in the other unit."),
    "imperial": ("Convert to or from the imperial unit.", "Express the old measure as asked."),
    "temperature": ("Convert the temperature.", "Express the temperature on the other scale."),
    "weekday": ("Find the day of the week of the date.", "Name the weekday of the date."),
    "later": ("Count the days forward from the date.", "Find the date so many days later."),
    "between": ("Count the days between the two dates.", "Compute how many days lie between the dates."),
    "clock": ("Add the minutes to the time of day.", "Find the time at the end."),
    "reverse": ("Write the word backwards.", "Reverse the letters of the word."),
    "count_letter": ("Count how often the letter occurs.", "Count the letter in the word."),
    "length": ("Count the letters of the word.", "Find the length of the word."),
    "vowels": ("Count the vowels of the word.", "Find out how many vowels there are."),
    "nth_letter": ("Find the letter at the given position.", "Name the letter that stands there."),
    "sort_words": ("Sort the words alphabetically.", "Put the words into the order of a dictionary."),
    "longest": ("Find the longest word.", "Pick the word with the most letters."),
    "plural": ("Form the plural of the noun.", "Give the plural."),
    "unscramble": ("Unscramble the letters into a word.", "Solve the anagram."),
    "upper": ("Write the phrase in capital letters.", "Convert the phrase to upper case."),
    "initials": ("Join the initials of the phrase.", "Form the acronym."),
    "opposite": ("Name the opposite of the word.", "Give an antonym."),
    "sort_numbers": ("Sort the numbers in ascending order.", "Order the list from small to large."),
    "total": ("Add up the list.", "Compute the total of all numbers."),
    "average": ("Compute the mean of the list.", "Find the average of the numbers."),
    "largest": ("Find the largest number of the list.", "Name the maximum."),
    "smallest": ("Find the smallest number of the list.", "Name the minimum."),
    "second": ("Find the second largest number.", "Name the runner-up of the list."),
    "evens": ("Keep the even numbers of the list.", "Filter out the odd numbers."),
    "above": ("Count the numbers above the limit.", "Count the entries that are greater."),
    "distinct": ("Remove the duplicates of the list.", "Keep every number once, in order."),
    "reverse_list": ("Reverse the order of the list.", "Write the list from its end."),
    "by_length": ("Sort the words by their length.", "Order the words, short ones first."),
    "snippet": ("Run the program and report its output.", "Find out what the code prints."),
    "capital": ("Name the capital of the country.", "Look up the capital."),
    "country": ("Name the country of the capital.", "Look up which country it is."),
    "continent": ("Name the continent of the country.", "Look up the continent."),
    "symbol": ("Give the chemical symbol of the element.", "Look up the element's symbol."),
    "atomic_number": ("Give the atomic number of the element.", "Look up the number of protons."),
    "element": ("Name the element with this atomic number.", "Look up the element by its number."),
    "author": ("Name the author of the work.", "Look up who wrote it."),
    "year": ("Give the year of the event.", "Look up when it happened."),
    "planet": ("Name the planet at this place.", "Count the planets from the Sun."),
    "young": ("Name the young of the animal.", "Look up what its baby is called."),
}
ACCEPT = Workflow(steps=())
"""Recursion: the previous answer stays as it is."""


def one_step(kind: str, model: int, rng: Random | None = None) -> Workflow:
    """One worker answers; the wording is drawn, or the first where nothing is."""
    texts = SINGLE_HOP.get(kind, _GENERAL)
    return Workflow(steps=(Step(model=model, subtask=_pick(texts, rng), access=()),))


def two_steps(kind: str, first: int, second: int, rng: Random | None = None) -> Workflow:
    """The second worker sees the first one's reply and answers."""
    texts = TWO_HOP.get(kind) or (SINGLE_HOP.get(kind, _GENERAL), _REVIEW)
    access: Access = "all" if rng is None else rng.choice(("all", (0,)))
    return Workflow(
        steps=(
            Step(model=first, subtask=_pick(texts[0], rng), access=()),
            Step(model=second, subtask=_pick(texts[1], rng), access=access),
        )
    )


def tasks_of(kind: str, task: str, steps: int) -> tuple[str, ...]:
    """The task that each step of a plan is, for a question of that kind and task."""
    return _TWO_HOP_TASKS[kind] if steps == 2 and kind in _TWO_HOP_TASKS else (task,) * steps


def _pick(texts: Sequence[str], rng: Random | None) -> str:
    return texts[0] if rng is None else rng.choice(texts)


def written(plan: Workflow, skills: Sequence[str] | None = None) -> str:
    """The plan as a conductor writes it: three lists, one a line. `skills`: each step's, to be named by it."""
    access = [["all"] if step.access == "all" else list(step.access) for step in plan.steps]
    return (
        f"model_id = {json.dumps(skills or [step.model for step in plan.steps])}\n"
        f"subtasks = {json.dumps([step.subtask for step in plan.steps])}\n"
        f"access_list = {json.dumps(access)}"
    )
