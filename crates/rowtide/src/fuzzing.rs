//! What a test that feeds foreign bytes gets at.

use crate::pipeline_file;

/// Reads a pipeline file, up to where it would be run.
pub fn pipeline(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match pipeline_file::parse("p.toml", &text) {
        Ok(file) => format!("a pipeline {}", file.pipeline.name.len().min(3)),
        Err(problems) => {
            let told = problems.to_string();
            let lines: Vec<_> = told.lines().filter(|line| line.starts_with("error:")).collect();
            lines.join("; ")
        }
    }
}
