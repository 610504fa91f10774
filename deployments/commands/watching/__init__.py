"""Commands that show what an endpoint did."""
