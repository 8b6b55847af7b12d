//! What the documentation says to try without a cluster: the bank of the fake, and the example.

use std::{collections::BTreeMap, path::Path, process::Command};

use fastrand::Rng;
use rowtide_fake_cockroachdb::{Options, Server, Workload};
use serde_json::Value as Json;

use crate::Outcome;

/// Money moves, and none appears or vanishes.
pub(crate) fn is_read_by_the_example() -> Outcome<()> {
    let server = Server::start(Options::default())?;
    Workload::Bank.prepare(&server)?;
    let mut chance = Rng::with_seed(7);
    let mut rows = BTreeMap::new();
    let folder = tempfile::tempdir()?;
    for _ in 0..3 {
        for _ in 0..20 {
            Workload::Bank.step(&server, &mut chance)?;
        }
        drain(&server, folder.path(), &mut rows)?;
    }
    let cents = |row: &Json| row["balance"].as_str()?.replace('.', "").parse::<i64>().ok();
    let accounts: Option<Vec<_>> = rows.values().map(cents).collect();
    let accounts = accounts.ok_or("a balance is no decimal")?;
    let (count, sum) = (accounts.len(), accounts.iter().sum::<i64>());
    match (count, sum) {
        (100, 10_000_000) => Ok(()),
        _ => Err(format!("{count} accounts hold {sum} cents").into()),
    }
}

fn drain(server: &Server, folder: &Path, rows: &mut BTreeMap<String, Json>) -> Outcome<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config-examples");
    let output = Command::new(env!("CARGO_BIN_EXE_rowtide"))
        .args(["run", "--drain"])
        .arg(examples.join("cockroachdb-to-stdout.toml"))
        .current_dir(folder)
        .env("ROWTIDE__SOURCE__DATABASE", server.url())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    for line in output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Json = serde_json::from_slice(line)?;
        if line["table"] == "accounts" && line["after"].is_object() {
            rows.insert(line["key"].to_string(), line["after"].clone());
        }
    }
    Ok(())
}
