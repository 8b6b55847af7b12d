use super::Validator;
use crate::history::{Begun, Entry, What};

/// No process ever had more memory than it may.
pub(crate) struct Memory {
    most: u64,
}

impl Memory {
    pub(crate) fn new(begun: &Begun) -> Self {
        Self { most: begun.memory_max }
    }
}

impl Validator for Memory {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Process { instance, memory, .. } if *memory > self.most => {
                Err(format!("instance {instance} had {memory} bytes, {} are fine", self.most))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};
    use crate::history::ProcessEvent;

    #[test]
    fn refuses_a_process_that_had_too_much() {
        let of = |memory| {
            let event = ProcessEvent::Killed;
            verdict(Memory::new(&begun()), [What::Process { instance: 0, event, memory }])
        };
        assert_eq!(of(1_000), Ok(()));
        refused(of(1_001), "1001 bytes");
    }
}
