"""Who may ask what: keys, budgets and rates in front of the answers."""
