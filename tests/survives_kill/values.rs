//! Values that are easily got wrong.

use fastrand::Rng;
use rusqlite::types::Value;

pub(crate) fn real(random: &mut Rng) -> f64 {
    let special = [0.1 + 0.2, 1.0 / 3.0, -0.0, f64::MAX, 5e-324, f64::INFINITY, 1.0];
    special[random.usize(0..special.len())]
}

pub(crate) fn any(random: &mut Rng) -> Value {
    match random.u32(0..8) {
        0 => Value::Null,
        1 => Value::Integer([i64::MIN, i64::MAX, 0, 1 << 53][random.usize(0..4)]),
        2 => Value::Real(real(random)),
        3 => Value::Blob(Vec::new()),
        4 => Value::Blob(vec![0, 159, 146, 150]),
        5 => Value::Text(String::new()),
        6 => Value::Text("quote \" backslash \\ \u{1} ü 🦀".to_owned()),
        _ => Value::Text("x".repeat(random.usize(0..400))),
    }
}
