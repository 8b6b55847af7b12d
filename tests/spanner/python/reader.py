"""Reads a change stream from a start to an end, and writes down each partition and its records.

The official client, and as little else as possible: one query after another.
"""

import base64
import json
import sys

from google.cloud.spanner_v1 import JsonObject, param_types

import world

GOOGLE_SQL = """SELECT ChangeRecord FROM READ_changes (start_timestamp => @start,
    end_timestamp => @end, partition_token => @token, heartbeat_milliseconds => 1000)"""
POSTGRES = 'SELECT * FROM "spanner"."read_json_changes" ($1, $2, $3, 1000, null)'

COLUMN = ["name", "type", "is_primary_key", "ordinal_position"]
MOD = ["keys", "new_values", "old_values"]
DATA = [
    "commit_timestamp",
    "record_sequence",
    "server_transaction_id",
    "is_last_record_in_transaction_in_partition",
    "table_name",
    "column_types",
    "mods",
    "mod_type",
    "value_capture_type",
    "number_of_records_in_transaction",
    "number_of_partitions_in_transaction",
    "transaction_tag",
    "is_system_transaction",
]


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, JsonObject):
        return json.loads(value.serialize()) if not value._is_null else None
    if hasattr(value, "rfc3339"):
        return value.rfc3339()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def named(names, values):
    return {name: plain(value) for name, value in zip(names, values)}


def of_google_sql(row):
    for data, heartbeats, children in row[0]:
        for record in data:
            record = named(DATA, record)
            record["column_types"] = [named(COLUMN, each) for each in record["column_types"]]
            record["mods"] = [named(MOD, each) for each in record["mods"]]
            yield "data", record
        for start, _, partitions in children:
            for token, parents in partitions:
                yield "child", (token, parents, start.rfc3339())


def zulu(timestamp):
    """A time as it is taken; the records of this dialect have it with an offset."""
    return timestamp.replace("+00:00", "Z")


def of_postgres(row):
    record = plain(row[0])
    if "data_change_record" in record:
        record = record["data_change_record"]
        record["commit_timestamp"] = zulu(record["commit_timestamp"])
        yield "data", record
    elif "child_partitions_record" in record:
        children = record["child_partitions_record"]
        for child in children["child_partitions"]:
            parents = child.get("parent_partition_tokens", [])
            yield "child", (child["token"], parents, zulu(children["start_timestamp"]))


def spream(record):
    """The record as spream writes it."""
    for column in record["column_types"]:
        if not column["is_primary_key"]:
            del column["is_primary_key"]
    record["mods"] = [{name: each[name] for name in MOD if each.get(name)} for each in record["mods"]]
    return {name: record[name] for name in DATA}


def read(database, dialect, token, start, end):
    is_postgres = dialect == "postgresql"
    names = ["p1", "p2", "p3"] if is_postgres else ["start", "end", "token"]
    kinds = [param_types.TIMESTAMP, param_types.TIMESTAMP, param_types.STRING]
    with database.snapshot() as snapshot:
        rows = snapshot.execute_sql(
            POSTGRES if is_postgres else GOOGLE_SQL,
            params=dict(zip(names, [start, end, token])),
            param_types=dict(zip(names, kinds)),
        )
        for row in rows:
            yield from (of_postgres if is_postgres else of_google_sql)(row)


def main():
    dialect, start, end = sys.argv[1:]
    _, database = world.database(dialect)
    waiting, known = [(None, [], start)], set()
    while waiting:
        token, parents, begin = waiting.pop(0)
        records = []
        for kind, record in read(database, dialect, token, begin, end):
            if kind == "data":
                records.append(spream(record))
            elif record[0] not in known:
                known.add(record[0])
                waiting.append(record)
        if token is not None:
            print(json.dumps({"token": token, "parents": parents, "records": records}))


main()
