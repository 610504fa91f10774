"""The endpoint's pages for a person: how it is, what it decided last, and one request from question to answer."""
