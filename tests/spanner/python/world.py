"""A database with two tables and a change stream, in either dialect."""

import os
import sys
import time

from google.api_core.exceptions import FailedPrecondition
from google.auth.credentials import AnonymousCredentials
from google.cloud import spanner
from google.cloud.spanner_admin_database_v1.types import DatabaseDialect

os.environ["SPANNER_DISABLE_BUILTIN_METRICS"] = "true"

COLUMNS = [
    ("name", "STRING(MAX)", "varchar"),
    ("count", "INT64", "bigint"),
    ("ratio", "FLOAT64", "double precision"),
    ("price", "NUMERIC", "numeric"),
    ("is_open", "BOOL", "boolean"),
    ("blob", "BYTES(MAX)", "bytea"),
    ("document", "JSON", "jsonb"),
    ("day", "DATE", "date"),
    ("seen_at", "TIMESTAMP", "timestamptz"),
    ("tags", "ARRAY<INT64>", "bigint[]"),
]


def database(dialect):
    """The database of that dialect, as a client sees it."""
    client = spanner.Client(
        project="test", credentials=AnonymousCredentials(), disable_builtin_metrics=True
    )
    kind = DatabaseDialect.POSTGRESQL if dialect == "postgresql" else None
    instance = client.instance("test")
    return client, instance.database(dialect, database_dialect=kind)


def create(dialect):
    client, orders = database(dialect)
    config = f"{client.project_name}/instanceConfigs/emulator-config"
    instance = client.instance("test", config, display_name="test", node_count=1)
    if not instance.exists():
        instance.create().result(60)
    is_postgres = dialect == "postgresql"
    columns = ", ".join(f"{name} {pg if is_postgres else sql}" for name, sql, pg in COLUMNS)
    if is_postgres:
        tables = [f"CREATE TABLE orders (id bigint PRIMARY KEY, {columns})"]
        tables += ["CREATE TABLE lines (id bigint, line bigint, PRIMARY KEY (id, line))"]
        stream = "CREATE CHANGE STREAM changes FOR ALL"
    else:
        tables = [f"CREATE TABLE orders (id INT64 NOT NULL, {columns}) PRIMARY KEY (id)"]
        tables += ["CREATE TABLE lines (id INT64, line INT64) PRIMARY KEY (id, line)"]
        stream = "CREATE CHANGE STREAM changes FOR ALL"
    orders.create().result(60)
    orders.update_ddl(tables + [stream]).result(60)
    _, metadata = database(dialect + "-metadata")
    metadata._database_dialect = orders._database_dialect
    metadata.create().result(60)


def watch(dialect):
    """Has a change stream tell of each write to the metadata table."""
    _, metadata = database(dialect + "-metadata")
    metadata.update_ddl(["CREATE CHANGE STREAM changes FOR PartitionMetadata"]).result(60)


def fill(dialect):
    """Rows that only a snapshot can deliver."""
    _, orders = database(dialect)
    with orders.batch() as batch:
        rows = [[1000 + number, 0] for number in range(2000)]
        batch.insert_or_update("lines", ["id", "line"], rows)


def widen(dialect):
    """Adds a column to a table that the change stream watches."""
    _, orders = database(dialect)
    kind = "bigint" if dialect == "postgresql" else "INT64"
    name = f"extra{time.time_ns()}"
    for _ in range(400):
        try:
            orders.update_ddl([f"ALTER TABLE orders ADD COLUMN {name} {kind}"]).result(60)
            return
        except FailedPrecondition:
            # The emulator takes none beside a transaction.
            time.sleep(0.01)
    sys.exit("there was always a transaction")


if __name__ == "__main__":
    {"create": create, "watch": watch, "fill": fill, "widen": widen}[sys.argv[1]](sys.argv[2])
