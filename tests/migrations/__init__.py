"""Tests of the migrations, on real databases of both kinds."""
