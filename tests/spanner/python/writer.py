"""Writes rows of few keys until its standard input ends; says how many transactions it committed."""

import base64
import datetime
import decimal
import random
import sys
import threading

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.cloud.spanner_v1 import JsonObject, KeySet

import world

KEYS = 12


def row(key):
    pick = random.choice
    return [
        key,
        pick([None, "", "ü\U0001f980\n", "x" * random.randrange(400)]),
        pick([None, -(2**63), 2**63 - 1, 0]),
        pick([None, 0.1, -1.5e300, 5e-324]),
        pick([None, decimal.Decimal("-12.5"), decimal.Decimal("9" * 29 + ".999999999")]),
        pick([None, True, False]),
        pick([None, b"", base64.b64encode(bytes(range(256)))]),
        pick([None, JsonObject({"a": [1, None, {"b": 1.5}]})]),
        pick([None, datetime.date(1, 1, 1), datetime.date(2026, 11, 21)]),
        pick([None, datetime.datetime(2026, 11, 21, 10, 0, 5, tzinfo=datetime.timezone.utc)]),
        pick([None, [], [1, -1]]),
    ]


def commit(database):
    columns = ["id"] + [name for name, _, _ in world.COLUMNS]
    key = random.randrange(KEYS)
    with database.batch() as batch:
        kind = random.random()
        if kind < 0.2:
            batch.delete("orders", KeySet(keys=[[key]]))
        elif kind < 0.4:
            some = sorted(random.sample(range(1, len(columns)), 3))
            values = row(key)
            names = ["id"] + [columns[index] for index in some]
            batch.insert_or_update("orders", names, [[key] + [values[index] for index in some]])
        elif kind < 0.6:
            # Several rows and tables, and so several records of one transaction.
            batch.insert_or_update("orders", columns, [row(key), row((key + 1) % KEYS)])
            batch.insert_or_update("lines", ["id", "line"], [[key, line] for line in range(3)])
        else:
            batch.insert_or_update("orders", columns, [row(key)])


def main():
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    _, database = world.database(sys.argv[1])
    random.seed(int(sys.argv[2]))
    commits = 0
    while not stopped.is_set():
        try:
            commit(database)
            commits += 1
        except (GoogleAPICallError, RetryError):
            # Whether it was committed is what the stream tells.
            pass
        stopped.wait(0.004)
    print(commits)


main()
