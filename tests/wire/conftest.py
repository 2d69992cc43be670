"""Hypothesis without a clock and without a folder of its own: other work may share the machine."""

from hypothesis import settings

settings.register_profile("calm", deadline=None, database=None)
settings.load_profile("calm")
