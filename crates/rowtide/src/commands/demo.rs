//! `rowtide demo`: a pipeline like any other, on a database made up on the spot.

#[cfg(all(feature = "sqlite", feature = "stdout"))]
mod show;
#[cfg(all(feature = "sqlite", feature = "stdout"))]
mod writer;

#[cfg(all(feature = "sqlite", feature = "stdout"))]
pub(crate) use show::demo;

/// The demo needs plugins that are not in this build.
#[cfg(not(all(feature = "sqlite", feature = "stdout")))]
pub(crate) async fn demo() -> Result<(), crate::pipeline_file::Problems> {
    let error = rowtide_core::Error::config("the demo is not in this build");
    Err(error.help("build with `--features sqlite,stdout` (or `full`)").into())
}
