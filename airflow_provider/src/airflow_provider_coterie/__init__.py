"""Run coterie plans as Airflow DAGs: connection, hook, operators and decorators."""
