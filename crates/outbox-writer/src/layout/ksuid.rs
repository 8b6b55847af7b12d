use std::time::SystemTime;

use uuid::Uuid;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The first second of the ids' own time, 2014-05-13T16:53:20Z.
const BEGIN: u64 = 1_400_000_000;
const LENGTH: usize = 27;

/// A new id of 27 letters and digits: 32 bits of time, 128 bits of chance. A later second sorts
/// later.
pub(super) fn next() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The time wraps around in 2150.
    let time = now.as_secs().saturating_sub(BEGIN) & u64::from(u32::MAX);
    encode(time, Uuid::new_v4().as_u128())
}

/// Writes the 160 bits in base 62, by the school's division of two parts.
fn encode(mut high: u64, mut low: u128) -> String {
    const BASE: u128 = DIGITS.len() as u128;
    const HALF: u128 = u64::MAX as u128;
    let mut letters = [b'0'; LENGTH];
    for letter in letters.iter_mut().rev() {
        let mut rest = u128::from(high) % BASE;
        high /= DIGITS.len() as u64;
        let mut quotient = 0;
        for part in [low >> 64, low & HALF] {
            let part = (rest << 64) | part;
            quotient = (quotient << 64) | (part / BASE);
            rest = part % BASE;
        }
        low = quotient;
        *letter = DIGITS[usize::try_from(rest).unwrap_or_default()];
    }
    String::from_utf8_lossy(&letters).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_other_writers_of_ksuids_make_of_its_parts() {
        assert_eq!(encode(0, 0), "0".repeat(27));
        assert_eq!(encode(u64::from(u32::MAX), u128::MAX), "aWgEPTl1tmebfsQzFP4bxwgy80V");
        // The example of the reference implementation.
        let payload = 0xB5A1_CD34_B5F9_9D11_54FB_6853_345C_9735;
        assert_eq!(encode(107_608_047, payload), "0ujtsYcgvSTl8PAuAdqWYSMnLOv");
    }

    #[test]
    fn ids_have_the_length_of_their_column_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| next()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == LENGTH));
    }
}
