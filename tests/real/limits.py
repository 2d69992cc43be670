"""The dialects of the embedded server, and how each calls the limit of an answer."""

LIMITS = {
    "openai-chat": "max_tokens",
    "openai-completions": "max_tokens",
    "openai-responses": "max_output_tokens",
    "anthropic-messages": "max_tokens",
    "llamacpp-completion": "n_predict",
}
