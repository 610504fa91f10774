"""Change, in as few coins as the till has kinds for."""

COINS = [200, 100, 50, 20, 10, 5, 2, 1]


def coins(cents):
    """The coins to give, the largest first.

    >>> coins(1)
    [1]
    >>> coins(4)
    [2, 2]
    >>> coins(88)
    [50, 20, 10, 5, 2, 1]
    >>> coins(0)
    []
    """
    given = []
    for coin in COINS:
        while cents > coin:
            cents = cents - coin
            given.append(coin)
    return given


def owed(price, paid):
    """The coins that somebody gets back.

    >>> owed(150, 200)
    [50]
    """
    return coins(paid - price)
