use fastrand::Rng;

/// How the server misbehaves. All chances are in a thousand, all decided by the seed: what becomes
/// of the n-th query of a partition depends on nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// What decides.
    pub seed: u64,
    /// What messages can be resumed by.
    pub tokens: Tokens,
    /// That a request is refused for a while.
    pub refuse: u32,
    /// That a query fails instead of sending its next message, with one of the codes that pass.
    pub fail: u32,
    /// That a query ends instead of sending its next message, as if all had been told.
    pub end: u32,
    /// That nothing comes any more, while the query stays open.
    pub stall: u32,
    /// That all sessions are forgotten when a query begins.
    pub forget_sessions: u32,
    /// That a value is cut into pieces.
    pub chunk: u32,
    /// That what was committed at one time comes in another order than to the last query.
    pub shuffle: u32,
    /// That a heartbeat comes right behind a record.
    pub heartbeat: u32,
    /// That a row without any record comes.
    pub empty: u32,
    /// That children are announced twice, or each in a record of its own.
    pub repeat_children: u32,
    /// That records have fields that nobody knows yet.
    pub unknown_fields: u32,
    /// How many rows a message has at most.
    pub rows_per_message: usize,
    /// How many records a row has at most; more than one in GoogleSQL alone.
    pub records_per_row: usize,
}

/// What the messages of a query carry for resuming it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokens {
    /// Each its own.
    #[default]
    Unique,
    /// Some of them.
    Sparse,
    /// All the same, which resumes nothing.
    Constant,
    None,
}

impl Faults {
    /// A server that behaves.
    pub fn none() -> Self {
        Self {
            seed: 0,
            tokens: Tokens::Unique,
            refuse: 0,
            fail: 0,
            end: 0,
            stall: 0,
            forget_sessions: 0,
            chunk: 0,
            shuffle: 0,
            heartbeat: 0,
            empty: 0,
            repeat_children: 0,
            unknown_fields: 0,
            rows_per_message: 1,
            records_per_row: 1,
        }
    }

    /// Everything that passes by itself, often enough to be met in a few hundred records. Each seed
    /// has other chances. Nothing stalls, since who waits for that waits for half a minute.
    pub fn seeded(seed: u64) -> Self {
        let mut chance = Rng::with_seed(seed);
        let tokens = [Tokens::Unique, Tokens::Sparse, Tokens::Constant, Tokens::None];
        Self {
            seed,
            tokens: tokens[chance.usize(0..4)],
            refuse: chance.u32(0..60),
            fail: chance.u32(0..60),
            end: chance.u32(0..60),
            stall: 0,
            forget_sessions: if chance.u32(0..8) == 0 { chance.u32(0..20) } else { 0 },
            chunk: chance.u32(0..500),
            shuffle: chance.u32(0..1000),
            heartbeat: chance.u32(0..300),
            empty: chance.u32(0..200),
            repeat_children: chance.u32(0..500),
            unknown_fields: chance.u32(0..1000),
            rows_per_message: chance.usize(1..6),
            records_per_row: chance.usize(1..4),
        }
    }

    /// What decides in the n-th query for one thing.
    pub(crate) fn chance(&self, subject: &str, number: u64) -> Rng {
        let mut hash = self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in subject.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Rng::with_seed(hash)
    }
}

/// Whether something happens that has so many chances in a thousand.
pub(crate) fn happens(chance: &mut Rng, thousandths: u32) -> bool {
    thousandths > 0 && chance.u32(0..1000) < thousandths
}
