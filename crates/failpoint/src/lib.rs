//! Places at which a test can have the process killed.
//!
//! ```
//! rowtide_failpoint::reach!("engine: flushed, not saved");
//! ```
//!
//! Without the feature `failpoints` this is nothing at all. With it the point is known by its name,
//! and `ROWTIDE_FAILPOINT="engine: flushed, not saved#3"` has the process kill itself there when it
//! passes for the third time: at once, as `kill -9` does it, without a destructor or a flush.
//!
//! Where a call rarely fails by itself, a test can have it fail:
//!
//! ```
//! # fn flush() -> Result<(), &'static str> {
//! if rowtide_failpoint::fails!("kafka: the broker is gone") {
//!     return Err("the broker is gone");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same variable names it and the time at which it fails, and so do the seven after it; the
//! process lives on. Without the feature it is `false`.
//!
//! A name says what has happened and what has not, after the part of the program that it is in. It
//! stands at one place only.

/// Marks a point by its name.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {};
}

/// Marks a point by its name.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {{
        $crate::inventory::submit! { $crate::Point($name) }
        $crate::reached($name);
    }};
}

/// Whether a call fails here, by its name.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fails {
    ($name:literal) => {
        false
    };
}

/// Whether a call fails here, by its name.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fails {
    ($name:literal) => {{
        $crate::inventory::submit! { $crate::FailingCall($name) }
        $crate::is_failing($name)
    }};
}

#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub use inventory;

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
pub use armed::{FailingCall, Point, check, failing_calls, is_failing, names, reached};
