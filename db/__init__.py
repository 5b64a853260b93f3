"""Own the database: tables, views, migrations, work claims and queries. Functions take a session; callers commit."""
