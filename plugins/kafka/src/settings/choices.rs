use schemars::JsonSchema;
use serde::Deserialize;

/// How the partition of a message is chosen by its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Partitioner {
    /// As Java's clients do; a message without key goes anywhere.
    #[default]
    Murmur2Random,
    /// As Java's clients do; messages without key stay together.
    Murmur2,
    /// As librdkafka does by default; a message without key goes anywhere.
    ConsistentRandom,
    /// As librdkafka does by default; messages without key stay together.
    Consistent,
    /// By FNV-1a, as Go's sarama does; a message without key goes anywhere.
    #[serde(rename = "fnv1a_random")]
    Fnv1aRandom,
    /// By FNV-1a, as Go's sarama does; messages without key stay together.
    #[serde(rename = "fnv1a")]
    Fnv1a,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip.
    Gzip,
    /// With Snappy.
    Snappy,
    /// With LZ4, the fastest.
    Lz4,
    /// With Zstandard, the smallest.
    Zstd,
}

impl Partitioner {
    /// What librdkafka calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Partitioner::Murmur2Random => "murmur2_random",
            Partitioner::Murmur2 => "murmur2",
            Partitioner::ConsistentRandom => "consistent_random",
            Partitioner::Consistent => "consistent",
            Partitioner::Fnv1aRandom => "fnv1a_random",
            Partitioner::Fnv1a => "fnv1a",
        }
    }
}

impl Compression {
    /// What librdkafka calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}
