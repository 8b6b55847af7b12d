//! Random statements, whose log is replayed and compared with the table.

use super::*;

/// What one sequence runs on. The known limits are left out on purpose:
/// temp triggers; with recursive_triggers off, a BEFORE trigger that is older than ours and writes
/// to the same table (it fires after our staging); with recursive_triggers on, a DELETE trigger
/// that inserts into the same table (it fires in the middle of a REPLACE, after our staging).
/// Explicit rowids in a table that has a key of its own, and keys that are NULL.
struct Table {
    create: &'static str,
    columns: &'static [&'static str],
    /// Whether an insert over a key is the replacement: no rows are staged.
    lenient: bool,
}

const TABLES: &[Table] = &[
    Table {
        create: "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v)",
        columns: &["id", "u", "v"],
        lenient: false,
    },
    Table {
        create: "CREATE TABLE t (a, b TEXT, u INTEGER UNIQUE ON CONFLICT REPLACE, v,
            PRIMARY KEY (b, a)) WITHOUT ROWID",
        columns: &["a", "b", "u", "v"],
        lenient: false,
    },
    Table {
        create: "CREATE TABLE t (k TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, u, v,
            w AS (u + 1) STORED, UNIQUE (u, v), UNIQUE (w))",
        columns: &["k", "u", "v"],
        lenient: false,
    },
    Table {
        create: "CREATE TABLE t (u TEXT, v NOT NULL DEFAULT 2, w);
            CREATE UNIQUE INDEX t_u ON t (u COLLATE NOCASE);
            CREATE UNIQUE INDEX t_v ON t (v)",
        columns: &["u", "v", "w"],
        lenient: false,
    },
    Table {
        create: "CREATE TABLE t (id INTEGER PRIMARY KEY, u, v)",
        columns: &["id", "u", "v"],
        lenient: true,
    },
    Table {
        create: "CREATE TABLE t (a INT NOT NULL, b TEXT NOT NULL, v, PRIMARY KEY (b, a))",
        columns: &["a", "b", "v"],
        lenient: true,
    },
    Table { create: "CREATE TABLE t (u, v)", columns: &["u", "v"], lenient: true },
];

/// Triggers of the application that write to the same table, by when they are made. One that fires
/// before a write must be newer than ours.
const AFTER_TRIGGERS: &[&str] = &[
    "AFTER INSERT ON t WHEN new.v = 1 BEGIN UPDATE t SET v = 2 WHERE rowid_ IS new.rowid_; END",
    "AFTER UPDATE ON t WHEN new.v = 3 BEGIN DELETE FROM t WHERE v = 4; END",
    "AFTER INSERT ON t WHEN new.v = 5 BEGIN INSERT OR REPLACE INTO t (LIST) VALUES (NEXT); END",
    "AFTER DELETE ON t WHEN old.v = 6 BEGIN INSERT OR REPLACE INTO t (LIST) VALUES (NEXT); END",
    "AFTER UPDATE ON t WHEN new.v = 2 BEGIN UPDATE OR REPLACE t SET v = 6 WHERE v = 1; END",
];
const BEFORE_TRIGGERS: &[&str] = &[
    "BEFORE INSERT ON t WHEN new.v = 4 BEGIN INSERT OR REPLACE INTO t (LIST) VALUES (NEXT); END",
    "BEFORE DELETE ON t WHEN old.v = 1 BEGIN UPDATE t SET v = 3 WHERE v = 2; END",
    "BEFORE INSERT ON t WHEN new.v = 3 BEGIN DELETE FROM t WHERE v = 5; END",
];

#[test]
fn the_replayed_log_is_the_table_whatever_is_written() {
    let sequences = std::env::var("FUZZ_SEQUENCES").map_or(350, |text| text.parse().unwrap());
    let failed: Vec<u64> = (0..sequences)
        .filter(|&seed| std::panic::catch_unwind(|| Sequence::new(seed).run()).is_err())
        .collect();
    assert!(failed.is_empty(), "{} sequences failed: {failed:?}", failed.len());
}

struct Sequence {
    random: Random,
    seed: u64,
    table: &'static Table,
    scene: Scene,
    replica: Replica,
    statements: Vec<String>,
    depth: usize,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let exact = random.below(4) == 0;
        let table = &TABLES[random.below(TABLES.len())];
        let replace = if exact { Replace::Exact } else { Replace::Auto };
        let mut older = String::new();
        let mut newer = String::new();
        let recursive = if random.below(2) == 0 { "ON" } else { "OFF" };
        for (number, text) in AFTER_TRIGGERS.iter().enumerate() {
            let is_limit = recursive == "ON" && text.starts_with("AFTER DELETE");
            if random.below(4) == 0 && !is_limit {
                let place = if random.below(2) == 0 { &mut older } else { &mut newer };
                place.push_str(&application_trigger(table, number, text, &mut random));
            }
        }
        for (number, text) in BEFORE_TRIGGERS.iter().enumerate() {
            if random.below(5) == 0 {
                newer.push_str(&application_trigger(table, 10 + number, text, &mut random));
            }
        }
        let schema = format!("{};{older}", table.create);
        let mut scene = Scene::with(&schema, Tables::all(), replace);
        scene.run(&newer);
        scene.run(&format!("PRAGMA recursive_triggers = {recursive}"));
        scene.sync();
        let replica = Replica { lenient: table.lenient && !exact, ..Replica::default() };
        let statements = vec![schema, newer, recursive.to_owned()];
        Self { random, seed, table, scene, replica, statements, depth: 0 }
    }

    fn run(mut self) {
        for _ in 0..40 {
            let statement = self.statement();
            // A conflict, and a trigger that goes on for ever, are failures of the application's.
            let failed = self.scene.application.execute_batch(&statement).err();
            let note = failed.as_ref().map_or(String::new(), |error| format!(" -- {error}"));
            self.statements.push(format!("{statement};{note}"));
            if failed.is_some() && self.scene.application.is_autocommit() {
                self.depth = 0;
            }
            let error = failed.map(|error| error.to_string()).unwrap_or_default();
            assert!(!error.contains("_rowtide"), "{error}\n{}", self.story());
            if self.scene.application.is_autocommit() {
                self.compare();
            }
        }
        self.scene.application.execute_batch("COMMIT").ok();
        self.compare();
    }

    #[track_caller]
    fn compare(&mut self) {
        let changes = self.scene.read(usize::MAX);
        let story = self.story();
        let told: Vec<String> = changes.iter().map(told).collect();
        let replica = &mut self.replica;
        let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            replica.apply(&changes);
        }));
        assert!(applied.is_ok(), "{story}\n{told:#?}");
        assert_eq!(self.replica.rows("t"), self.scene.rows("t"), "{story}\n{told:#?}");
    }

    fn story(&self) -> String {
        format!("seed {}\n{}", self.seed, self.statements.join("\n"))
    }

    fn statement(&mut self) -> String {
        let list = self.table.columns.join(", ");
        match self.random.below(20) {
            0 if self.scene.application.is_autocommit() => "BEGIN".to_owned(),
            0 | 1 if !self.scene.application.is_autocommit() => "COMMIT".to_owned(),
            2 => {
                self.depth += 1;
                format!("SAVEPOINT s{}", self.depth)
            }
            3 if self.depth > 0 => format!("ROLLBACK TO s{}", self.depth),
            4 if self.depth > 0 => {
                self.depth -= 1;
                format!("RELEASE s{}", self.depth + 1)
            }
            5..=7 => {
                let policy = self.policy();
                let (column, value) = self.assignment();
                let condition = self.condition();
                format!("UPDATE {policy} t SET {column} = {value} WHERE {condition}")
            }
            8 => {
                let (column, value) = self.assignment();
                let (other, more) = self.assignment();
                format!("UPDATE OR REPLACE t SET {column} = {value}, {other} = {more}")
            }
            9 | 10 => format!("DELETE FROM t WHERE {}", self.condition()),
            11 if self.random.below(6) == 0 => "DELETE FROM t".to_owned(),
            12 | 13 => {
                let values = self.values();
                let (column, value) = self.assignment();
                format!(
                    "INSERT INTO t ({list}) VALUES ({values}) \
                     ON CONFLICT DO UPDATE SET {column} = {value}"
                )
            }
            _ => {
                let policy = self.policy();
                let (values, more) = (self.values(), self.values());
                format!("INSERT {policy} INTO t ({list}) VALUES ({values}), ({more})")
            }
        }
    }

    fn policy(&mut self) -> &'static str {
        let policies =
            ["", "OR REPLACE", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ABORT", "OR ROLLBACK"];
        policies[self.random.below(policies.len())]
    }

    fn values(&mut self) -> String {
        values(self.table, &mut self.random)
    }

    fn assignment(&mut self) -> (&'static str, String) {
        let column = self.table.columns[self.random.below(self.table.columns.len())];
        (column, value(column, &mut self.random))
    }

    fn condition(&mut self) -> String {
        let (column, value) = self.assignment();
        let comparison = if self.random.below(3) == 0 { ">=" } else { "IS" };
        format!("{column} {comparison} {value}")
    }
}

fn application_trigger(table: &Table, number: usize, text: &str, random: &mut Random) -> String {
    let key = if table.create.contains("WITHOUT ROWID") { "u" } else { "rowid" };
    let text = text
        .replace("rowid_", key)
        .replace("LIST", &table.columns.join(", "))
        .replace("NEXT", &values(table, random));
    format!("CREATE TRIGGER app_{number} {text};")
}

fn values(table: &Table, random: &mut Random) -> String {
    let values: Vec<String> = table.columns.iter().map(|column| value(column, random)).collect();
    values.join(", ")
}

/// Few values, so that they meet; keys are not NULL, of which a rowid table may have several.
fn value(column: &str, random: &mut Random) -> String {
    let small = random.below(7);
    match (column, random.below(8)) {
        ("id", _) => small.to_string(),
        ("a" | "b" | "k", 0) => format!("'{}'", ["a", "A", "b"][random.below(3)]),
        ("a" | "b" | "k", _) => format!("{}", small % 4),
        (_, 0) => "NULL".to_owned(),
        (_, 1) => format!("'{}'", ["a", "A", "b", "B", ""][random.below(5)]),
        (_, 2) => format!("x'{small:02x}ff'"),
        (_, 3) => format!("{small}.0"),
        (_, 4) => ["9e999", "-9223372036854775808", "1e-300", "0.1 + 0.2"][small % 4].to_owned(),
        _ => small.to_string(),
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}
