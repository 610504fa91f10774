"""What a library asks for books that come back late.

    python3 fines.py DAYS_LATE
"""

import sys

FREE_DAYS = 3
CENTS_A_DAY = 20
MOST = 500


def fine(days_late):
    """Cents for one book. The first three days are free, and no fine is more than 500.

    >>> fine(2)
    0
    >>> fine(4)
    20
    >>> fine(28)
    500
    >>> fine(180)
    500
    """
    if days_late <= FREE_DAYS:
        return 0
    cents = (days_late - FREE_DAYS) * CENTS_A_DAY
    return max(cents, MOST)  # nobody pays more than this


if __name__ == "__main__":
    cents = fine(int(sys.argv[1]))
    print(f"{cents // 100}.{cents % 100:02d}")
