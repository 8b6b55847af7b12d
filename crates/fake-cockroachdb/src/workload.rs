use std::str::FromStr;

use fastrand::Rng;

use crate::{Server, SqlError};

/// How many accounts a bank has.
const ACCOUNTS: i64 = 100;

/// What happens in a server that nobody else writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Money moves between accounts; all of it together stays the same.
    Bank,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bank" => Ok(Workload::Bank),
            _ => Err(format!("`{text}` is no workload; there is `bank`")),
        }
    }
}

impl Workload {
    /// Makes the tables.
    ///
    /// # Errors
    /// If there are others of that name.
    pub fn prepare(self, server: &Server) -> Result<(), SqlError> {
        server.execute(
            "CREATE TABLE accounts (id INT8 PRIMARY KEY, balance DECIMAL(12,2) NOT NULL, \
             updated_at TIMESTAMPTZ);
             CREATE TABLE transfers (id INT8 PRIMARY KEY, debit INT8, credit INT8, \
             amount DECIMAL(12,2))",
        )?;
        let rows: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id}, 1000.00)")).collect();
        let sql = format!("INSERT INTO accounts (id, balance) VALUES {}", rows.join(", "));
        server.execute(&sql).map(drop)
    }

    /// Moves money once, in a transaction of three rows.
    ///
    /// # Errors
    /// If somebody has dropped the tables.
    pub fn step(self, server: &Server, chance: &mut Rng) -> Result<(), SqlError> {
        let from = chance.i64(0..ACCOUNTS);
        let to = (from + chance.i64(1..ACCOUNTS)) % ACCOUNTS;
        let cents = chance.u64(1..10_000);
        let number = chance.u64(..1 << 62);
        let (debit, credit) =
            (balance(server, from)? - cents as i64, balance(server, to)? + cents as i64);
        server.execute(&format!(
            "BEGIN;
             UPDATE accounts SET balance = {} WHERE id = {from};
             UPDATE accounts SET balance = {} WHERE id = {to};
             UPSERT INTO transfers VALUES ({number}, {from}, {to}, {});
             COMMIT",
            money(debit),
            money(credit),
            money(cents as i64)
        ))?;
        Ok(())
    }
}

/// What an account holds, in cents.
fn balance(server: &Server, account: i64) -> Result<i64, SqlError> {
    let answer = server.execute(&format!("SELECT balance FROM accounts WHERE id = {account}"))?;
    let value = answer.rows.first().and_then(|row| row.first().cloned().flatten());
    let missing = || SqlError::new("XXUUU", format!("account {account} is gone"));
    value.and_then(|text| text.replace('.', "").parse().ok()).ok_or_else(missing)
}

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}
