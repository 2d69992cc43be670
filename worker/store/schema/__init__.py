"""The schema: tables, views, migrations, grants."""
