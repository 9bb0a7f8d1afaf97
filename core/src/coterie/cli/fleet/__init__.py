"""What a fleet shares, looked at and changed by people: breakers, pools, limits, budgets."""
