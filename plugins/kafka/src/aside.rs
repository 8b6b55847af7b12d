//! What blocks, on threads of its own: librdkafka's questions to the brokers.

use std::thread;

use rowtide_core::{Error, Result};
use tokio::sync::oneshot;

/// Runs `work` aside. It is told whether its answer is still wanted, and gives up if it is not.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    let run = move || {
        let done = work(&|| !answer.is_closed());
        let _ = answer.send(done);
    };
    let thread = thread::Builder::new().name("kafka question".to_owned()).spawn(run);
    thread.map_err(|error| Error::transient("no thread could be started").because(error))?;
    answered.await.map_err(|_| Error::transient("a question to the brokers was not answered"))?
}
