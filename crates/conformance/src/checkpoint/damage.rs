use super::CheckpointCase;
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario<CheckpointCase>> {
    vec![]
}
