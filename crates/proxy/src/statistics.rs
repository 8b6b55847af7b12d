/// What has passed through a proxy since it was started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Accepted, whatever became of them.
    pub connections: u64,
    /// Those that are not closed yet.
    pub open: u64,
    /// Those that ended with a reset: asked for, by a cut, or by an end that did so itself.
    pub resets: u64,
    pub to_server: Traffic,
    pub to_client: Traffic,
}

/// The bytes of one direction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Handed on.
    pub delivered: u64,
    /// Taken and thrown away.
    pub discarded: u64,
}
