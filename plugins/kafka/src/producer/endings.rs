//! What a dropped sink leaves to do, and how its successor waits for it.
//!
//! librdkafka ends its threads only after it has closed its connections, which may take a while and
//! must not block the runtime. Nothing of a dropped sink may arrive after what its successor
//! writes, so the successor, opened for the same pipeline, waits until they have ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Dropped once a producer is gone.
pub(crate) type Life = watch::Sender<()>;
/// Tells of the end of a [`Life`].
pub(crate) type Ending = watch::Receiver<()>;

static ENDINGS: Mutex<Vec<(Arc<str>, Ending)>> = Mutex::new(Vec::new());

/// Notes that a producer of this pipeline was dropped and has not ended yet.
pub(super) fn note(pipeline: &Arc<str>, ending: Ending) {
    let mut endings = endings();
    endings.retain(|(_, ending)| ending.has_changed().is_ok());
    endings.push((Arc::clone(pipeline), ending));
}

/// Waits until all producers of this pipeline that were dropped so far have ended.
pub(crate) async fn former_have_ended(pipeline: &str) {
    let of_pipeline =
        |(of, ending): &(Arc<str>, Ending)| (**of == *pipeline).then(|| ending.clone());
    let former: Vec<_> = endings().iter().filter_map(of_pipeline).collect();
    for mut ending in former {
        // Nothing is ever sent: it is an error, and that is the end.
        while ending.changed().await.is_ok() {}
    }
}

fn endings() -> MutexGuard<'static, Vec<(Arc<str>, Ending)>> {
    ENDINGS.lock().unwrap_or_else(PoisonError::into_inner)
}
