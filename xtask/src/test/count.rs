use crate::Result;

/// How many tests ran, by what `cargo test` prints.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) ignored: u64,
    /// The file under `tests/` whose tests are running.
    target: Option<String>,
    /// Such files without a test.
    empty: Vec<String>,
    /// Such files whose tests were all ignored.
    idle: Vec<String>,
}

impl Count {
    /// Takes note of one line of the output.
    pub(crate) fn take(&mut self, line: &str) {
        let line = line.trim();
        if let Some(target) = line.strip_prefix("Running ") {
            let file = target.split(" (").next().unwrap_or_default();
            self.end();
            self.target = file.contains("tests/").then(|| file.to_owned());
        } else if line.starts_with("Doc-tests ") {
            self.end();
        } else if let Some(result) = line.strip_prefix("test result: ok. ") {
            let [passed, ignored] = ["passed", "ignored"].map(|what| number(result, what));
            self.passed += passed;
            self.ignored += ignored;
            let list = if ignored > 0 { &mut self.idle } else { &mut self.empty };
            list.extend(self.target.take().filter(|_| passed == 0));
        }
    }

    /// A file whose result was not printed counts as one without a test.
    fn end(&mut self) {
        self.empty.extend(self.target.take());
    }

    /// Holds nothing against files whose tests were all ignored, and says which those are.
    pub(crate) fn excuse(&mut self) -> Vec<String> {
        std::mem::take(&mut self.idle)
    }

    /// # Errors
    /// Nothing ran, in all or of a file that is there to be run.
    pub(crate) fn judge(&mut self) -> Result {
        self.end();
        if self.passed == 0 {
            return Err("no test ran".into());
        }
        self.empty.append(&mut self.idle);
        match self.empty.is_empty() {
            true => Ok(()),
            false => Err(format!("no test ran of {}", self.empty.join(", ")).into()),
        }
    }
}

/// The `3` of `…; 3 passed; …`.
fn number(result: &str, what: &str) -> u64 {
    let part = result.split(';').find_map(|part| part.trim().strip_suffix(what));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered \
                          out; finished in 0.00s";
    const NOTHING: &str = "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered \
                           out; finished in 0.00s";
    const UNIT: &str = "     Running unittests src/lib.rs (target/debug/deps/rowtide_core-1)";
    const FILE: &str = "     Running tests/conformance.rs (target/debug/deps/conformance-1)";

    fn count(lines: &[&str]) -> Count {
        let mut count = Count::default();
        lines.iter().for_each(|line| count.take(line));
        count
    }

    #[test]
    fn passed_and_ignored_tests_are_summed() {
        let mut count = count(&[UNIT, RESULT, FILE, RESULT]);
        assert_eq!((count.passed, count.ignored), (6, 2));
        assert!(count.judge().is_ok());
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert_eq!(count(&[UNIT, NOTHING]).judge().unwrap_err().to_string(), "no test ran");
    }

    #[test]
    fn a_test_file_without_a_test_that_ran_is_a_failure() {
        let error = count(&[UNIT, RESULT, FILE, NOTHING]).judge().unwrap_err();
        assert_eq!(error.to_string(), "no test ran of tests/conformance.rs");
    }

    #[test]
    fn a_test_file_that_was_ignored_can_be_excused() {
        let mut ignored = count(&[UNIT, RESULT, FILE, NOTHING]);
        assert_eq!(ignored.excuse(), ["tests/conformance.rs"]);
        assert!(ignored.judge().is_ok());
        let mut empty = count(&[UNIT, RESULT, FILE, &NOTHING.replace("2 ignored", "0 ignored")]);
        assert_eq!(empty.excuse(), [""; 0]);
        assert!(empty.judge().is_err());
    }

    #[test]
    fn a_test_file_without_a_result_is_a_failure() {
        assert!(count(&[UNIT, RESULT, FILE]).judge().is_err());
        assert!(count(&[FILE, UNIT, RESULT]).judge().is_err());
    }

    #[test]
    fn a_library_without_unit_tests_is_fine() {
        assert!(count(&[FILE, RESULT, UNIT, NOTHING]).judge().is_ok());
    }
}
