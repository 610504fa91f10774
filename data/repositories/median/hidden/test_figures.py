import unittest

from figures import mean, median


class Figures(unittest.TestCase):
    def test_the_middle_one(self):
        self.assertEqual(median([9, 1, 5]), 5)
        self.assertEqual(median([7]), 7)

    def test_between_the_two_in_the_middle(self):
        self.assertEqual(median([10, 1, 4, 3]), 3.5)

    def test_nothing_has_none(self):
        self.assertIsNone(median([]))

    def test_the_list_stays_as_it_is(self):
        numbers = [3, 1, 2]
        median(numbers)
        self.assertEqual(numbers, [3, 1, 2])

    def test_the_mean_is_what_it_was(self):
        self.assertEqual(mean([1, 2, 6]), 3.0)
        self.assertIsNone(mean([]))


if __name__ == "__main__":
    unittest.main()
