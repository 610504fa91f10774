import unittest

from till import COINS, coins, owed


class Till(unittest.TestCase):
    def test_a_coin_of_each_kind_is_its_own_change(self):
        for coin in COINS:
            self.assertEqual(coins(coin), [coin])

    def test_the_coins_add_up(self):
        for cents in range(1000):
            self.assertEqual(sum(coins(cents)), cents)

    def test_there_are_as_few_as_can_be(self):
        self.assertEqual(coins(299), [200, 50, 20, 20, 5, 2, 2])

    def test_nothing_is_nothing(self):
        self.assertEqual(coins(0), [])

    def test_what_was_paid_too_much_comes_back(self):
        self.assertEqual(owed(1, 500), [200, 200, 50, 20, 20, 5, 2, 2])


if __name__ == "__main__":
    unittest.main()
