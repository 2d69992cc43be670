"""What is under the statements: engines, sessions, errors, locks."""
