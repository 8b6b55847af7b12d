//! A partition as the metadata table has it.

use jiff::Timestamp;
use rowtide_core::{Error, PartitionState, Progress, Result};

use crate::{
    client::{Cell, Write, commit_timestamp},
    source::Place,
};

/// The columns that are read, in this order.
pub(super) const COLUMNS: [&str; 10] = [
    "PartitionToken",
    "ParentTokens",
    "StartTimestamp",
    "EndTimestamp",
    "HeartbeatMillis",
    "State",
    "Watermark",
    "ScheduledAt",
    "RunningAt",
    "FinishedAt",
];

/// What is written of an end where none is known: the last time that Spanner has.
const NO_END: &str = "9999-12-31T23:59:59.999999999Z";

/// What is written of the heartbeats where nothing is known: what spream and this source take.
const HEARTBEAT_MILLIS: &str = "10000";

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) token: String,
    pub(super) parents: Vec<String>,
    pub(super) start: Timestamp,
    pub(super) stage: Stage,
    pub(super) watermark: Timestamp,
    /// The end and the heartbeats as they are there; nothing here reads them.
    settings: [Cell; 2],
    /// Whether the time of each stage but the first is there.
    is_timed: [bool; 3],
}

/// How far a partition is, in the words of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing of it is delivered.
    Created,
    /// About to be read; only other programs write it.
    Scheduled,
    /// All of it before the watermark is delivered.
    Running,
    /// All of it is delivered.
    Finished,
}

const STAGES: [(Stage, &str); 4] = [
    (Stage::Created, "CREATED"),
    (Stage::Scheduled, "SCHEDULED"),
    (Stage::Running, "RUNNING"),
    (Stage::Finished, "FINISHED"),
];

/// The stages whose time the table has beside that of the row's creation.
const TIMED: [(Stage, &str); 3] = [
    (Stage::Scheduled, "ScheduledAt"),
    (Stage::Running, "RunningAt"),
    (Stage::Finished, "FinishedAt"),
];

/// What a partition's row shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) token: String,
    pub(super) parents: Vec<String>,
    pub(super) stage: Stage,
    start: Timestamp,
    /// None leaves the one that is there.
    watermark: Option<Timestamp>,
}

/// Whether a row may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// It was saved under this claim, which lets it advance only.
    Forward,
    /// It was not; a person may have moved it.
    Any,
}

impl Row {
    /// Reads the cells of [`COLUMNS`].
    ///
    /// # Errors
    /// `Fatal` for what no program writes.
    pub(super) fn read(cells: Vec<Cell>) -> Result<Self> {
        let shown = cells.first().and_then(Cell::text).unwrap_or_default().to_owned();
        Self::parse(cells).ok_or_else(|| {
            Error::fatal(format!("the row of partition `{shown}` cannot be read"))
                .help("its state, its watermark or its start is damaged; see `docs/spanner.md`")
        })
    }

    fn parse(cells: Vec<Cell>) -> Option<Self> {
        let [token, parents, start, end, heartbeat, state, watermark, timed @ ..] =
            <[Cell; COLUMNS.len()]>::try_from(cells).ok()?;
        let Cell::List(parents) = parents else { return None };
        let stage = STAGES.iter().find(|(_, name)| state.text() == Some(*name))?.0;
        let (start, watermark) = (start.text()?.parse().ok()?, watermark.text()?.parse().ok()?);
        Some(Self {
            token: token.into_text()?,
            parents: parents.into_iter().map(Cell::into_text).collect::<Option<_>>()?,
            start,
            stage,
            watermark,
            settings: [end, heartbeat],
            is_timed: timed.map(|cell| cell != Cell::Null),
        })
    }
}

/// The stage that a cell names.
pub(super) fn is_finished(state: &Cell) -> bool {
    state.text() == Some(Stage::Finished.name())
}

impl Target {
    /// What the row of a partition of the Spanner source shall say.
    ///
    /// # Errors
    /// `Config` for a partition of another source, or of a snapshot.
    pub(super) fn of(state: &PartitionState) -> Result<Self> {
        let PartitionState { partition, progress } = state;
        let at = |position: &rowtide_core::Position| {
            position.decode::<Place>().map(|place| place.at()).map_err(|_| foreign(state))
        };
        let start = at(partition.start.as_ref().ok_or_else(|| foreign(state))?)?;
        let watermark = progress.position().map(at).transpose()?;
        Ok(Self {
            token: partition.id.as_str().to_owned(),
            parents: partition.parents.iter().map(|id| id.as_str().to_owned()).collect(),
            stage: match progress {
                Progress::Waiting => Stage::Created,
                Progress::Delivered(_) => Stage::Running,
                Progress::Finished(_) => Stage::Finished,
            },
            start,
            watermark,
        })
    }

    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    /// A new row. What the source's settings say stands in the row of a parent, if there is one.
    pub(super) fn insert(&self, table: &str, parent: Option<&Row>) -> Write {
        let unknown = || [NO_END, HEARTBEAT_MILLIS].map(|value| Cell::Text(value.to_owned()));
        let [end, heartbeat] = parent.map_or_else(unknown, |row| row.settings.clone());
        let parents = self.parents.iter().cloned().map(Cell::Text).collect();
        let mut values = vec![
            ("PartitionToken", Cell::Text(self.token.clone())),
            ("ParentTokens", Cell::List(parents)),
            ("StartTimestamp", time(self.start)),
            ("EndTimestamp", end),
            ("HeartbeatMillis", heartbeat),
            ("State", self.stage.cell()),
            ("Watermark", time(self.watermark.unwrap_or(self.start))),
            ("CreatedAt", commit_timestamp()),
        ];
        let reached = TIMED.iter().filter(|(stage, _)| *stage <= self.stage);
        values.extend(reached.map(|(_, column)| (*column, commit_timestamp())));
        Write::Insert { table: table.to_owned(), values }
    }

    /// What changes in a row that is there; none, if nothing does.
    pub(super) fn update(&self, table: &str, row: &Row, direction: Direction) -> Option<Write> {
        let goes_back = self.stage < row.stage && direction == Direction::Forward;
        let stage = if goes_back { row.stage } else { self.stage };
        let watermark = match (self.watermark, direction) {
            (Some(watermark), Direction::Forward) => watermark.max(row.watermark),
            (Some(watermark), Direction::Any) => watermark,
            (None, _) => row.watermark,
        };
        let mut values = Vec::new();
        if stage != row.stage {
            values.push(("State", stage.cell()));
        }
        if watermark != row.watermark {
            values.push(("Watermark", time(watermark)));
        }
        for ((timed, column), is_timed) in TIMED.iter().zip(row.is_timed) {
            match (*timed <= stage, is_timed) {
                (true, false) => values.push((*column, commit_timestamp())),
                (false, true) => values.push((*column, Cell::Null)),
                _ => {}
            }
        }
        if values.is_empty() {
            return None;
        }
        values.insert(0, ("PartitionToken", Cell::Text(self.token.clone())));
        Some(Write::Update { table: table.to_owned(), values })
    }
}

impl Stage {
    fn name(self) -> &'static str {
        let named = STAGES.iter().find(|(stage, _)| *stage == self);
        named.map_or("", |(_, name)| name)
    }

    fn cell(self) -> Cell {
        Cell::Text(self.name().to_owned())
    }
}

pub(super) fn time(at: Timestamp) -> Cell {
    Cell::Text(at.to_string())
}

fn foreign(state: &PartitionState) -> Error {
    let message = format!(
        "partition `{}` has a position that is more than a time in a Spanner change stream, and \
         does not fit in the metadata table",
        state.partition.id
    );
    let help = "this store is for the source `spanner` without a snapshot; keep the checkpoint of \
                any other pipeline in another one, such as `sqlite` or `postgres`";
    Error::config(message).key("type").help(help)
}
