use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the rows that are already there are delivered before the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Snapshot {
    /// The existing rows first, then the changes, without a gap.
    #[default]
    Initial,
    /// Changes only, from the pipeline's first start on.
    Never,
    /// The existing rows only; then the pipeline ends by itself.
    Only,
}
