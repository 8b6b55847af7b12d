use rowtide_core::Error;

use crate::pipeline_file::Problems;

pub(crate) async fn demo() -> Result<(), Problems> {
    Err(Error::fatal("todo").into())
}
