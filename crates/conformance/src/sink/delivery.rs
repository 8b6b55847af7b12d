use super::SinkCase;
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario<SinkCase>> {
    vec![]
}
