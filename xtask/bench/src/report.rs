use std::fmt::Write;

use serde_json::{Value, json};

/// Figures, each with what it is to be compared with.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bar: Option<Bar>,
    /// The same figure as measured elsewhere, for comparison only.
    reference: Option<f64>,
}

/// What a figure must keep to.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    /// Adds a figure that nothing is asked of.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        let name = name.into();
        self.figures.push(Figure { name, value, unit, bar: None, reference: None });
    }

    /// Adds the same figure of the design's own measurement to the last one.
    pub(crate) fn beside(&mut self, reference: Option<f64>) {
        if let Some(figure) = self.figures.last_mut() {
            figure.reference = reference;
        }
    }

    /// Sets what the last figure must keep to.
    pub(crate) fn bar(&mut self, bar: Bar) {
        if let Some(figure) = self.figures.last_mut() {
            figure.bar = Some(bar);
        }
    }

    /// Whether every bar is kept to.
    pub(crate) fn is_passed(&self) -> bool {
        self.figures.iter().all(|figure| figure.is_passed() != Some(false))
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
        for figure in &self.figures {
            let (name, unit) = (&figure.name, figure.unit);
            let _ = write!(table, "{name:width$}  {:>12} {unit:9}", shown(figure.value));
            if let Some(reference) = figure.reference {
                let _ = write!(table, "  reference {}", shown(reference));
            }
            if let (Some(bar), Some(is_passed)) = (figure.bar, figure.is_passed()) {
                let verdict = if is_passed { "ok" } else { "MISSED" };
                let _ = write!(table, "  {}: {verdict}", bar.text());
            }
            table.push('\n');
        }
        table
    }

    pub(crate) fn json(&self) -> String {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        json!({ "passed": self.is_passed(), "rounds": crate::ROUNDS, "figures": figures })
            .to_string()
    }
}

impl Figure {
    fn is_passed(&self) -> Option<bool> {
        Some(match self.bar? {
            Bar::AtLeast(bar) => self.value >= bar,
            Bar::AtMost(bar) => self.value <= bar,
        })
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar.map(Bar::text),
            "passed": self.is_passed(),
            "reference": self.reference,
        })
    }
}

impl Bar {
    fn text(self) -> String {
        match self {
            Bar::AtLeast(bar) => format!("at least {bar}"),
            Bar::AtMost(bar) => format!("at most {bar}"),
        }
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_fails_the_report() {
        let mut report = Report::default();
        report.add("speed", 0.3, "ratio");
        report.bar(Bar::AtLeast(0.3));
        assert!(report.is_passed());
        report.add("memory", 64.5, "MB");
        report.bar(Bar::AtMost(64.0));
        assert!(!report.is_passed());
        assert!(report.table().contains("at most 64: MISSED"));
        assert!(report.json().contains("\"passed\":false"));
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        let mut report = Report::default();
        report.add("speed", f64::NAN, "ratio");
        report.bar(Bar::AtLeast(0.3));
        assert!(!report.is_passed());
    }
}
