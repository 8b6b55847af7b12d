//! The validators themselves: what is wrong is refused.

use std::{cell::RefCell, rc::Rc};

use rowtide_core::{Error, Operation, Result};
use rowtide_fake_cockroachdb::{Hlc, Options, Server};
use serde_json::json;

use crate::{
    nemesis::finish,
    pipeline::Pipeline,
    validators::{BeforeAfter, Count, Fingerprint, Order, Runs, Validator, Version},
    writer::{TABLES, Writer, broken},
};

/// What a validator is told.
#[derive(Clone, Debug)]
enum Input {
    Change(Version),
    Resolved(Hlc),
    Restart,
}

/// Keeps what a pipeline that works delivers.
struct Recorder(Rc<RefCell<Vec<Input>>>);

impl Validator for Recorder {
    fn note_change(&mut self, change: &Version) -> Result<(), String> {
        self.0.borrow_mut().push(Input::Change(change.clone()));
        Ok(())
    }

    fn note_resolved(&mut self, at: Hlc) -> Result<(), String> {
        self.0.borrow_mut().push(Input::Resolved(at));
        Ok(())
    }
}

/// Versions of two rows, of which one is gone in the end.
const HISTORY: [&str; 6] = [
    "INSERT INTO plain VALUES (1, 10)",
    "INSERT INTO plain VALUES (2, 20)",
    "UPDATE plain SET n = 11 WHERE id = 1",
    "UPDATE plain SET n = 12 WHERE id = 1",
    "DELETE FROM plain WHERE id = 2",
    "UPDATE plain SET n = 13 WHERE id = 1",
];

pub(crate) fn are_refused() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(refuse()).map_err(|error| error.to_string())
}

async fn refuse() -> Result<()> {
    let server =
        Server::start(Options::default()).map_err(|error| Error::fatal(error.to_string()))?;
    let history = record(&server).await?;
    judge(&server, &history).map_err(Error::fatal)?;
    let mut replayed = history.clone();
    replayed.splice(0..0, history.iter().filter(is_change).cloned().chain([Input::Restart]));
    judge(&server, &replayed).map_err(Error::fatal)?;
    for (name, mutant) in mutants(&history) {
        if judge(&server, &mutant).is_ok() {
            return Err(Error::fatal(format!("{name} is passed: {mutant:#?}")));
        }
    }
    Ok(())
}

fn is_change(input: &&Input) -> bool {
    matches!(input, Input::Change(_))
}

/// The six changes, and a position behind them.
async fn record(server: &Server) -> Result<Vec<Input>> {
    let _ = Writer::new(server);
    let told = Rc::new(RefCell::new(Vec::new()));
    let settings = json!({
        "database": server.url(),
        "tables": TABLES,
        "heartbeat_every": "10ms",
        "snapshot": "never",
    });
    let mut pipeline = Pipeline::new(settings, vec![Box::new(Recorder(Rc::clone(&told)))]);
    // It takes its position before anything happens.
    pipeline.open().await?;
    for sql in HISTORY {
        server.execute(sql).map_err(broken)?;
    }
    finish(server, &mut pipeline).await?;
    let mut history = told.take();
    let last = history.iter().rposition(|input| matches!(input, Input::Resolved(_)));
    let Some(Input::Resolved(at)) = last.map(|last| history[last].clone()) else {
        return Err(Error::fatal("nothing was resolved"));
    };
    history.retain(|input| matches!(input, Input::Change(_)));
    if history.len() != HISTORY.len() {
        return Err(Error::fatal(format!("{history:#?} is not what happened")));
    }
    history.push(Input::Resolved(at));
    Ok(history)
}

fn judge(server: &Server, inputs: &[Input]) -> Result<(), String> {
    let mut validators: Vec<Box<dyn Validator + '_>> = vec![
        Box::new(Order::default()),
        Box::new(Runs::default()),
        Box::new(Count::at_least(1)),
        Box::new(BeforeAfter::new(server)),
        Box::new(Fingerprint::new(server, &TABLES)),
    ];
    for input in inputs {
        for own in &mut validators {
            match input {
                Input::Change(change) => own.note_change(change)?,
                Input::Resolved(at) => own.note_resolved(*at)?,
                Input::Restart => own.note_restart(),
            }
        }
    }
    // So few changes are enough here.
    match inputs.is_empty() {
        true => validators.iter().try_for_each(|own| own.conclude()),
        false => Ok(()),
    }
}

fn mutants(history: &[Input]) -> Vec<(&'static str, Vec<Input>)> {
    let edited = |edit: &dyn Fn(&mut Vec<Input>)| {
        let mut mutant = history.to_vec();
        edit(&mut mutant);
        mutant
    };
    let changed = |index: usize, edit: fn(&mut Version)| {
        edited(&|mutant| {
            if let Input::Change(change) = &mut mutant[index] {
                edit(change);
            }
        })
    };
    let end = history.len() - 1;
    vec![
        ("nothing at all", Vec::new()),
        ("a change that is missing", edited(&|mutant| drop(mutant.remove(0)))),
        ("a change that is missing in the middle", edited(&|mutant| drop(mutant.remove(2)))),
        ("a delete that is missing", edited(&|mutant| drop(mutant.remove(4)))),
        ("a new version before an old one", edited(&|mutant| mutant.swap(2, 3))),
        (
            "a change behind the position that covers it",
            edited(&|mutant| mutant.swap(end - 1, end)),
        ),
        (
            "a position that goes back",
            edited(&|mutant| mutant.push(Input::Resolved(Hlc { wall: 1, logical: 0 }))),
        ),
        ("another row", changed(3, |change| drop(set(&mut change.after, "99")))),
        ("another row before", changed(3, |change| drop(set(&mut change.before, "99")))),
        ("no row before", changed(3, |change| change.before = None)),
        ("a delete of what is there", changed(3, |change| change.after = None)),
        (
            "a copy that differs",
            edited(&|mutant| {
                let mut copy = mutant[2].clone();
                if let Input::Change(change) = &mut copy {
                    change.operation = Operation::Insert;
                }
                mutant.insert(3, copy);
            }),
        ),
        (
            "a replay with a hole",
            edited(&|mutant| {
                let mut replay = mutant[..end].to_vec();
                replay.remove(1);
                replay.insert(0, Input::Restart);
                mutant.splice(end..end, replay);
            }),
        ),
        (
            "a replay that ends early",
            edited(&|mutant| {
                let mut replay = mutant[..end - 1].to_vec();
                replay.insert(0, Input::Restart);
                mutant.splice(end..end, replay);
            }),
        ),
    ]
}

fn set(
    row: &mut Option<std::collections::BTreeMap<String, String>>,
    value: &str,
) -> Option<String> {
    row.as_mut()?.insert("n".to_owned(), value.to_owned())
}
