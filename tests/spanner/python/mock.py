"""Google's own mock server, which takes what its protocol takes and writes down each request.

Tells its port, serves one table, one partition and one change until its standard input ends, and
then writes the requests as JSON.
"""

import datetime
import json
import sys
from concurrent import futures

import grpc
from google.cloud.spanner_v1._helpers import _make_value_pb
from google.cloud.spanner_v1.testing import spanner_pb2_grpc
from google.cloud.spanner_v1.testing.mock_spanner import MockSpanner, SpannerServicer
from google.cloud.spanner_v1.types import PartialResultSet, ResultSetMetadata
from google.cloud.spanner_v1.types import StructType, Type, TypeCode

START, END = sys.argv[1:]

TEXT, TIME, YES = TypeCode.STRING, TypeCode.TIMESTAMP, TypeCode.BOOL


def array(*fields):
    """An array of structs of these fields."""
    element = Type(code=TypeCode.STRUCT, struct_type=struct(*fields))
    return Type(code=TypeCode.ARRAY, array_element_type=element)


def struct(*fields):
    def of(kind):
        return kind if isinstance(kind, Type) else Type(code=kind)

    return StructType(fields=[StructType.Field(name=name, type_=of(kind)) for name, kind in fields])


COLUMN = [("name", TEXT), ("type", TypeCode.JSON), ("is_primary_key", YES)]
COLUMN += [("ordinal_position", TypeCode.INT64)]
MOD = [(name, TypeCode.JSON) for name in ["keys", "new_values", "old_values"]]
DATA = [
    ("commit_timestamp", TIME),
    ("record_sequence", TEXT),
    ("server_transaction_id", TEXT),
    ("is_last_record_in_transaction_in_partition", YES),
    ("table_name", TEXT),
    ("column_types", array(*COLUMN)),
    ("mods", array(*MOD)),
    ("mod_type", TEXT),
    ("value_capture_type", TEXT),
    ("number_of_records_in_transaction", TypeCode.INT64),
    ("number_of_partitions_in_transaction", TypeCode.INT64),
    ("transaction_tag", TEXT),
    ("is_system_transaction", YES),
]
TOKENS = Type(code=TypeCode.ARRAY, array_element_type=Type(code=TEXT))
CHILD = array(("token", TEXT), ("parent_partition_tokens", TOKENS))
CHILDREN = [("start_timestamp", TIME), ("record_sequence", TEXT), ("child_partitions", CHILD)]
RECORD = array(
    ("data_change_record", array(*DATA)),
    ("heartbeat_record", array(("timestamp", TIME))),
    ("child_partitions_record", array(*CHILDREN)),
)

KEY = ["id", '{"code":"INT64"}', True, "1"]
CHANGE = [START, "00000000", "tx", True, "orders", [KEY], [['{"id":"1"}', "{}", "{}"]]]
CHANGE += ["INSERT", "NEW_ROW", "1", "1", "", False]

# What is asked, by a part of it: the fields of a row and the rows.
ANSWERS = {
    "database_options": (["value"], [["GOOGLE_STANDARD_SQL"]]),
    "change_stream_options": (["stream", "name", "value"], []),
    "information_schema.change_streams": (["stream", "all"], [["changes", "YES"]]),
    "index_columns": (["schema", "table", "column", "ordinal"], [["", "orders", "id", "1"]]),
    "information_schema.columns": (
        ["schema", "table", "column", "type", "generated"],
        [["", "orders", "id", "INT64", "NEVER"]],
    ),
}

# The roots are asked for until none is new.
ROOTS = [[[[], [], [[START, "00000000", [["the-token", []]]]]]]]
READS = [
    ROOTS,
    ROOTS,
    [[[[CHANGE], [], []], [[], [[END]], []]]],
]


def partials(row_type, rows):
    """A row each, the description of all with the first."""
    all = [PartialResultSet() for _ in rows or [[]]]
    for partial, row in zip(all, rows):
        partial.values.extend(_make_value_pb(cell) for cell in row)
    all[0].metadata = ResultSetMetadata(row_type=row_type)
    return all


class Answers(MockSpanner):
    def get_execute_streaming_sql_results(self, sql, started_transaction):
        if "READ_changes" in sql:
            return partials(struct(("ChangeRecord", RECORD)), [[row] for row in READS.pop(0)])
        names, rows = next(answer for part, answer in ANSWERS.items() if part in sql)
        return partials(struct(*[(name, TEXT) for name in names]), rows)


class Server(SpannerServicer):
    def __init__(self):
        super().__init__()
        self._mock_spanner = Answers()

    def BeginTransaction(self, request, context):
        # The mock leaves out the time of a transaction that reads.
        begun = super().BeginTransaction(request, context)
        begun.read_timestamp = datetime.datetime.now(datetime.timezone.utc)
        return begun


def main():
    server, servicer = grpc.server(futures.ThreadPoolExecutor(max_workers=10)), Server()
    spanner_pb2_grpc.add_SpannerServicer_to_server(servicer, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    for request in servicer.requests:
        kind = type(request)
        written = json.loads(kind.to_json(request, use_integers_for_enums=False))
        print(json.dumps([kind.__name__, written]))


main()
