"""Figures that describe a list of numbers."""


def mean(numbers):
    """The mean, or None of an empty list.

    >>> mean([1, 2, 6])
    3.0
    """
    if not numbers:
        return None
    return sum(numbers) / len(numbers)
