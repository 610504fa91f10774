"""OpenAI's Responses API: requests and answers of it, and the answers that are kept."""
