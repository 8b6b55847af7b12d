use std::{fmt::Write, path::PathBuf};

use crate::{
    output,
    pipeline_file::{self, Problems},
};

/// `rowtide check`: parses and validates, without I/O beyond reading the files.
pub(crate) fn check(paths: &[PathBuf]) -> Result<(), Problems> {
    let files = pipeline_file::load_all(paths)?;
    let mut text = String::new();
    for (path, file) in paths.iter().zip(&files) {
        let _ = writeln!(text, "{}: pipeline `{}` is fine", path.display(), file.pipeline.name);
    }
    Ok(output::print(&text)?)
}
