use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

/// One promise that a plugin keeps, and the test of it, as data.
///
/// `C` is what the scenario works on: a fresh case of a source, a sink or a checkpoint store.
pub(crate) struct Scenario<C> {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) needs: Option<Capability>,
    pub(crate) run: fn(C) -> BoxFuture<'static, Verdict>,
}

/// What a system can do, or a test can do to it; not every one can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// The test decides what is written upstream ([`Upstream::commit`](crate::Upstream::commit)).
    Writes,
    /// The source tells which changes were committed together.
    Transactions,
    /// The source delivers the rows that are there before it delivers changes.
    Snapshot,
    /// Partitions of the upstream have children ([`Upstream::split`](crate::Upstream::split)).
    Children,
    /// Things happen upstream that a pipeline does not capture
    /// ([`Upstream::commit_elsewhere`](crate::Upstream::commit_elsewhere)).
    Elsewhere,
    /// The upstream can forget what a position needs
    /// ([`Upstream::lose`](crate::Upstream::lose)).
    Loss,
    /// The system outside can be restarted.
    Restart,
    /// The downstream refuses some changes for good
    /// ([`Downstream::poison`](crate::Downstream::poison)).
    Poison,
    /// An answer of the downstream can get lost on its way.
    LostResponse,
    /// A request to the downstream can get lost on its way.
    LostRequest,
    /// The downstream can be made to take nothing for a while.
    Stall,
    /// What is held for readers can be counted ([`Upstream::held`](crate::Upstream::held)).
    Held,
    /// What is stored can be damaged ([`Storage::stored`](crate::Storage::stored)).
    Damage,
    /// What is saved outlives the process.
    Durable,
    /// One storage takes several pipelines.
    Pipelines,
}

/// A scenario that is known to fail, and why.
#[derive(Clone, Copy, Debug)]
pub struct Waiver {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// Why it fails, and what would have to change.
    pub reason: &'static str,
}

/// What became of a scenario.
pub type Verdict<T = ()> = Result<T, Failure>;

/// Why a scenario did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The plugin does not keep the promise.
    Broken(String),
    /// The promise does not apply to this plugin, which then neither keeps nor breaks it.
    NotApplicable(String),
}

impl Failure {
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Failure::Broken(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(message) | Failure::NotApplicable(message) => {
                formatter.write_str(message)
            }
        }
    }
}

impl From<rowtide_core::Error> for Failure {
    fn from(error: rowtide_core::Error) -> Self {
        Failure::Broken(format!("unexpected {:?} error: {error}", error.kind()))
    }
}

/// How long the making of a world may take, in which a server may have to be started.
const MAKING: Duration = Duration::from_secs(180);

/// Waits until `what` is made for a scenario.
pub(crate) async fn made<T>(what: &str, future: impl Future<Output = T>) -> Verdict<T> {
    within(MAKING, &format!("{what} to be made"), future).await
}

/// Waits for `future` as long as `patience` allows, and names what was waited for if it was vain.
pub(crate) async fn within<T>(
    patience: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Verdict<T> {
    match tokio::time::timeout(patience, future).await {
        Ok(value) => Ok(value),
        Err(_) => Err(Failure::broken(format!("waited {patience:?} in vain for {what}"))),
    }
}

/// Lets others go on before a condition is asked again that nothing announces.
pub(crate) async fn ask_again() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// Fails the scenario unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::scenario::Failure::Broken(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Makes a [`Scenario`] of an async function, named after it.
macro_rules! scenario {
    ($function:ident, $needs:expr, $promise:literal) => {
        $crate::scenario::Scenario {
            name: stringify!($function),
            promise: $promise,
            needs: $needs,
            run: |case| Box::pin($function(case)),
        }
    };
}
pub(crate) use scenario;
