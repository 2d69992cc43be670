"""The dialects of model servers: how each is asked, and how its frames read."""
