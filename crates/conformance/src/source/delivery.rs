use super::SourceCase;
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario<SourceCase>> {
    vec![]
}
