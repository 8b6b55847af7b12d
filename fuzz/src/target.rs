/// A decoder of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its folder in the corpus, too.
    pub name: &'static str,
    /// Decodes, and says in a few lines what came of it.
    pub run: fn(&[u8]) -> String,
    /// What a byte by itself would seldom become.
    pub(crate) words: &'static [&'static str],
}

const JSON: &[&str] = &[
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1e400",
    "1.5",
    "\"NaN\"",
    "9223372036854775807",
    "18446744073709551615",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "[[[[[[[[",
    "{\"a\":",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"-009999-01-01T00:00:00Z\"",
    "\"24:00:00\"",
    "\"\\\\x0\"",
    "\"\\\\xzz\"",
];

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "checkpoint", run: rowtide_file::fuzzing::checkpoint, words: JSON },
    Target { name: "envelopes", run: rowtide_cockroachdb::fuzzing::envelope, words: JSON },
    Target {
        name: "log",
        run: rowtide_sqlite::fuzzing::log,
        words: &["first", "again", "INTEGER", "PRIMARY KEY", "\u{0}\u{1}", "{\"name\":\"t\"}"],
    },
    Target {
        name: "pipeline",
        run: rowtide::fuzzing::pipeline,
        words: &[
            "[source]\n",
            "[sink]\n",
            "[checkpoint]\n",
            "[delivery]\n",
            "type = \"sqlite\"\n",
            "type = \"kafka\"\n",
            "type = \"spanner\"\n",
            "type = \"outbox\"\n",
            "path = \"\"\n",
            "\"${HOME}\"",
            "\"${\"",
            "{ file = \"x\" }",
            "''''''",
            "1979-05-27T07:32:00Z",
            "inf",
            "0x7fffffffffffffff",
            "\"99999999999999999999d\"",
            "\"18446744073709551615GiB\"",
            "{a.b.c = [{}]}",
            "\\u0000",
            "\"{table}{\"",
        ],
    },
    Target { name: "positions", run: positions, words: JSON },
    Target { name: "outbox", run: rowtide_outbox::fuzzing::batch, words: &["\n\0", "id", "\x08"] },
    Target { name: "records", run: rowtide_spanner::fuzzing::records, words: JSON },
];

/// The positions of all sources: a checkpoint has them, and `rowtide checkpoint set` takes them.
fn positions(bytes: &[u8]) -> String {
    let decoders = [
        rowtide_cockroachdb::fuzzing::position,
        rowtide_outbox::fuzzing::position,
        rowtide_spanner::fuzzing::position,
        rowtide_sqlite::fuzzing::position,
    ];
    decoders.map(|decode| decode(bytes)).join("\n")
}
