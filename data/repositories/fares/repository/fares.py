"""What a ride costs.

    python3 fares.py FROM_ZONE TO_ZONE AGE
"""

import sys

FIRST_ZONE = 180
MORE = 60


def zones(start, end):
    """How many zones a ride touches, the first and the last included.

    >>> zones(1, 1)
    1
    >>> zones(2, 5)
    4
    >>> zones(5, 2)
    4
    """
    return abs(end - start) - 1


def price(count, age):
    """Cents for so many zones. Who is under 6 pays nothing, who is under 14 half.

    >>> price(1, 40)
    180
    >>> price(3, 13)
    150
    >>> price(1, 14)
    180
    >>> price(2, 5)
    0
    """
    if age < 6:
        return 0
    cents = FIRST_ZONE + MORE * (count - 1)
    if age <= 14:
        return cents // 2
    return cents


if __name__ == "__main__":
    start, end, age = map(int, sys.argv[1:])
    print(price(zones(start, end), age))
