"""The only door to Cassandra: session, migrations, and one module for each table."""
