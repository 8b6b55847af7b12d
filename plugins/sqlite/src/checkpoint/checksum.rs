//! What is kept beside the rows, by which damage of them is noticed.

use sha2::{Digest, Sha256};

pub(crate) fn state_checksum(pipeline: &str, partition: &str, state: &str) -> Vec<u8> {
    digest_of_fields(&[b"state", pipeline.as_bytes(), partition.as_bytes(), state.as_bytes()])
}

pub(crate) fn claim_checksum(
    pipeline: &str,
    epoch: i64,
    owner: &str,
    checkpoint: &[u8],
) -> Vec<u8> {
    let epoch = epoch.to_be_bytes();
    digest_of_fields(&[b"claim", pipeline.as_bytes(), &epoch, owner.as_bytes(), checkpoint])
}

pub(crate) fn digest_of_rows<'a>(checksums: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    digest_of_fields(&checksums.collect::<Vec<_>>())
}

/// Each field goes in with its length, so that no byte can move from one to the next.
fn digest_of_fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for field in fields {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    digest.finalize().to_vec()
}
