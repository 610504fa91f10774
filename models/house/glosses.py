"""Sentences about each kind of question, as a textbook or a conversation would hold them.

They give pretraining the words of all families, in sentences that are no phrasing of a question: also words that
only unseen phrasings use. Slots are the kind's own.
"""

from __future__ import annotations

GLOSSES: dict[str, tuple[str, ...]] = {
    "sum": (
        "The sum of two numbers is what they make together.",
        "A grower plants {a} bulbs and {b} more, so the total of tulips on the farm is large.",
        "To add means to count on: {a} plus {b} altogether.",
    ),
    "difference": (
        "The difference says how far two numbers lie apart.",
        "{a} minus {b}: some tickets are sold, the rest is unsold so far.",
        "To subtract is to take away and to see what is left.",
    ),
    "product": (
        "The product is the result of multiplying.",
        "Every driver delivers parcels, each of them {b}, so one multiplies by the {a} drivers.",
        "{a} times {b} means {a} groups of {b} each.",
    ),
    "quotient": (
        "The quotient is the result of a division.",
        "Eggs on trays, split evenly: divide {a} by {b}.",
        "Whoever shares equally divides, and one tray holds the quotient.",
    ),
    "remainder": (
        "The residue of a division, or remainder, is what stays behind.",
        "{a} modulo {b}: rows are filled and the leftovers walk alone.",
        "Soldiers in rows march on; mod counts who is left over.",
    ),
    "power": (
        "A power has a base and an exponent.",
        "{a} is the base, the exponent is {b}, and squaring means the exponent 2.",
        "Raised, squared, cubed: a number multiplied with itself comes out large.",
    ),
    "percent": (
        "A percent is one part out of a hundred.",
        "Visitors of a museum, {p} percent of {b}, came with children.",
        "A tip or a reduction is given in %.",
    ),
    "expression": (
        "An expression is simplified to one value: brackets first, then products.",
        "On the blackboard of the class stands {e}.",
        "The value of {e} is a single number.",
    ),
    "linear": (
        "An equation has an unknown, here {v}, that one determines.",
        "A scale balances: {eq}, and the unknown is found.",
        "To solve {eq} means to find {v}.",
    ),
    "two_sided": (
        "One isolates {v} on one side, so that both sides report the same.",
        "The equation {eq} has {v} on its left and on its right.",
        "What {v} equals is seen once it is isolated: {eq}.",
    ),
    "riddle": (
        "In number riddles some unknown number is taken a few times and then increased.",
        "Taken {a} times, increased by {b}, the secret number makes {c}.",
        "Think of a number, multiply, add, and the result is known.",
    ),
    "system": (
        "Stamps belong to two children together; the elder has more than the other.",
        "Sum {s} and difference {d} give both numbers, the larger and the smaller.",
        "Anna has more stamps than Ben, and together they own {s}.",
    ),
    "quadratic": (
        "The curve of {p} is a parabola that crosses the x axis at its roots.",
        "A quadratic polynomial such as {p} has two zeros, a larger one and a smaller one.",
        "The last crossing of a parabola and the axis is its bigger root.",
    ),
    "value": (
        "To plug a number into a polynomial is to evaluate it there.",
        "At x = {n} the polynomial {p} takes one value, and that value appears.",
        "One plugs in x and computes {p}.",
    ),
    "sequence": (
        "A progression is a sequence with a rule; its members follow each other.",
        "{l} is a progression, and the next member can be guessed.",
        "In a sequence every number follows from the one before.",
    ),
    "metric": (
        "Metres, grams and litres are multiplied by ten, hundred or thousand.",
        "An instrument that shows {t} needs another reading than one for {u}.",
        "{v} {u} can be expressed in {t}, as the manual of the instrument demands.",
    ),
    "imperial": (
        "Miles, pounds, gallons and inches are old measures.",
        "Expressed in {t}, the reading of {v} {u} on an instrument changes; the manual shows both.",
        "{u} and {t} are not the same unit.",
    ),
    "temperature": (
        "A thermometer reads degrees, Celsius here and Fahrenheit there.",
        "Outside it is {v} degrees {u}, an American friend would report {t}.",
        "One thinks in {t} or in {u}, and has to translate.",
    ),
    "weekday": (
        "A birth has a weekday: somebody born on {d} may be a child of Sunday.",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday are the names of the days of the week.",
        "The calendar names the weekday of {d}.",
    ),
    "later": (
        "From {d} on the calendar one jumps ahead and lands {n} days after.",
        "When days have gone by, {n} of them, today is another date and we write it once.",
        "A date that lies {n} days after {d}.",
    ),
    "between": (
        "A prisoner counts the nights of his stay, from {d} until he left.",
        "Days between two dates: {d} and {e}.",
        "On {d} a prisoner came in; he stayed and left days after.",
    ),
    "clock": (
        "A watch shows {h}, and {n} minutes from now it shows another time.",
        "A cake bakes in the oven for {n} minutes until one takes it out.",
        "The clock goes on by {n} minutes from {h}.",
    ),
    "reverse": (
        "Letters flipped around read from the end to the start.",
        "From its end, letter after letter, '{w}' is spelled backwards.",
        "To flip a word is to reverse its letters.",
    ),
    "count_letter": (
        "A letter shows up in a word more or less frequently.",
        "Whoever spells '{w}' sees how frequently each letter shows up.",
        "The letter '{c}' occurs in '{w}'.",
    ),
    "length": (
        "A crossword needs as many squares as the word has letters.",
        "'{w}' fits where there are enough squares.",
        "The length of a word is its number of letters.",
    ),
    "vowels": (
        "Vowels are the letters such as a and e, i and o, or u.",
        "In '{w}' a few of all letters are vowels: an a, an e, an i, an o or a u.",
        "A word has vowels and consonants.",
    ),
    "nth_letter": (
        "Whoever spells '{w}' stops at a letter, place after place.",
        "Place {n} of '{w}' has its own letter.",
    ),
    "sort_words": (
        "From A to Z means alphabetically, as a dictionary arranges words.",
        "The following words are arranged: {l}.",
        "Alphabetical order begins with A.",
    ),
    "longest": (
        "A long word takes up a line's room.",
        "Of all words the longest has most letters and takes most room.",
        "Short words leave room on the line: {l}.",
    ),
    "plural": (
        "One or several: several things are written in the plural.",
        "There is one '{w}', and there are several, written differently.",
        "A noun has a singular and a plural.",
    ),
    "unscramble": (
        "An anagram is solved by rearranging its letters.",
        "'{s}' is an anagram of a word.",
        "Scrambled letters hide a word.",
    ),
    "upper": (
        "Majuscules are capital letters; online they mean that people shout.",
        "'{p}' shouted online stands in majuscules, that is upper case.",
    ),
    "initials": (
        "One abbreviates a name by its initials.",
        "Abbreviated, '{p}' becomes an acronym.",
    ),
    "opposite": (
        "The contrary of a word is its opposite or antonym.",
        "'{w}' and its contrary exclude each other.",
        "An antonym says the contrary.",
    ),
    "sort_numbers": (
        "Lined up, an entry is as large at least as its neighbour before.",
        "Numbers lined up in ascending order: small ones first.",
        "The entries {l} can be sorted, largest last.",
    ),
    "total": (
        "Entries are summed to their total.",
        "All entries of {l} summed make one number.",
        "Adding up is summing.",
    ),
    "average": (
        "The arithmetic mean balances numbers out.",
        "Balanced out, {l} have one mean, the average.",
        "A mean lies in the middle.",
    ),
    "largest": (
        "The highest of all heights is the maximum.",
        "Among mountains the highest is named first.",
        "The biggest entry of {l} is its maximum.",
    ),
    "smallest": (
        "The cheapest offer is the lowest one; one picks it out.",
        "The lowest entry of {l} is its minimum.",
        "Offers are cheap when they are low.",
    ),
    "second": (
        "The runner-up wins silver, the second place behind the winner.",
        "Scores have a winner and a runner-up value.",
        "Gold for the largest, silver for the second largest.",
    ),
    "evens": (
        "Odd members are dropped and even ones survive.",
        "Whoever drops odd numbers writes down even ones.",
        "Even numbers such as 2, 4, 6 survive the filter.",
    ),
    "above": (
        "Entries that exceed a limit are greater than it.",
        "Some entries of the list exceed {n}.",
        "Above {n} means more than {n}.",
    ),
    "distinct": (
        "Unique entries are shown once, repetitions get typed again.",
        "First come, first served: duplicates are repetitions.",
        "Someone types the same number with repetitions.",
    ),
    "reverse_list": (
        "Back and front change places in reverse order.",
        "A list is read from its front to its back, or the other way round.",
        "Reversed, the last entry is the first.",
    ),
    "by_length": (
        "In the queue, short words stand first, longer ones before the longest.",
        "Words queue up by their length.",
    ),
    "snippet": (
        "A program writes its output; one can predict it.",
        "The interpreter shows an output when print is called:\n{c}",
        "A loop repeats, and the program prints the result.",
    ),
    "capital": (
        "The capital is the city where the seat of government is found.",
        "{x} has a seat of government, its capital city.",
        "These days the government of {x} sits in its capital.",
    ),
    "country": (
        "A nation is governed from its capital.",
        "{x} is where a nation is governed, and a country belongs to it.",
        "The name of a nation is the name of a country.",
    ),
    "continent": (
        "A continent is a large landmass: Europe, Asia, Africa, Oceania, North America, South America.",
        "{x} is part of a continent.",
        "What part of the world, what landmass holds {x}, a map shows.",
    ),
    "symbol": (
        "A chemist denotes every element in a formula by its symbol.",
        "In formulas {x} is denoted by letters.",
        "Symbols are abbreviations in chemistry.",
    ),
    "atomic_number": (
        "The nucleus of an atom holds protons, counted by the atomic number.",
        "One counts protons, those of {x}, in its nucleus.",
        "The atomic number of {x} stands in the periodic table.",
    ),
    "element": (
        "An element is known by the protons in the nucleus of its atom.",
        "{n} protons in a nucleus belong to one element only.",
        "All atoms that have {n} protons are of the same element.",
    ),
    "author": (
        "A book comes from the pen of its author.",
        "Whose pen wrote {x}, the title page says.",
        "{x} has a writer whose name is known.",
    ),
    "year": (
        "A date of history has a year of four digits.",
        "Historians put dates on what happens: {x}.",
        "A year has four digits, and that will do.",
    ),
    "planet": (
        "Planets are met one after another as one travels outward from the Sun.",
        "A traveller outward from the Sun meets Mercury first and Neptune last.",
    ),
    "young": (
        "Offspring of animals have names of their own.",
        "A {x} has offspring, young ones, a baby.",
        "Which animal has which name for its offspring, children learn early.",
    ),
    "capital_length": ("On a ring with the name of a city, the capital of {x}, engravers charge by the letter.",),
    "capital_reverse": (
        "Seen from its far side, a glass door shows names backwards; so would the capital of {x} appear.",
    ),
    "element_product": ("Two work out a product together; one factor is an atomic number, that of {x}.",),
    "year_weekday": ("A clerk is curious and names a weekday: {d}, long ago, when {x}.",),
    "year_sum": ("In a book of a clerk stands a year, the one when {x}, increased by {n}.",),
    "letters_product": ("A product has two factors: {n} is one, a number of letters is another, those of '{w}'.",),
    "reverse_capital": ("A spy writes countries in reverse: '{s}' is one, and there is a capital there.",),
    "solution_minutes": ("A lecture has a duration in hours or minutes; the solution of {eq} states it.",),
    "largest_fahrenheit": (
        "Temperatures were measured, the largest of {l} is read as Celsius or expressed in Fahrenheit.",
    ),
    "largest_kilometres": ("Rides differ, the largest of {l} in miles or kilometres; one states both.",),
    "sum_element": ("Elements sit in their table by number, say {a} plus {b}.",),
}
