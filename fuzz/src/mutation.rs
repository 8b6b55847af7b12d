use fastrand::Rng;

/// How long an input becomes at most.
const BYTES_MAX: usize = 16 << 10;

/// Where what is put into an input comes from.
pub(crate) struct Pantry<'a> {
    pub(crate) words: &'a [&'a str],
    pub(crate) others: &'a [Vec<u8>],
}

/// Changes an input a few times over.
pub(crate) fn mutate(input: &mut Vec<u8>, random: &mut Rng, pantry: &Pantry<'_>) {
    for _ in 0..1 << random.u32(0..4) {
        change(input, random, pantry);
    }
    input.truncate(BYTES_MAX);
}

fn change(input: &mut Vec<u8>, random: &mut Rng, pantry: &Pantry<'_>) {
    let range = stretch(input, random);
    match random.u32(0..12) {
        0 => flip(input, random),
        1 => overwrite(input, random),
        2 => drop(input.drain(range)),
        3 => {
            let copy = input[range].to_vec();
            insert(input, random, &copy);
        }
        4 => {
            let other = &pantry.others[random.usize(0..pantry.others.len())];
            let part = &other[stretch(other, random)];
            insert(input, random, part);
        }
        5 | 6 => {
            let word = choose(pantry.words, random);
            insert(input, random, word.as_bytes());
        }
        7 => {
            let word = choose(pantry.words, random).as_bytes().to_vec();
            drop(input.splice(range, word));
        }
        8 => number(input, random),
        9 => input[range].reverse(),
        10 => value(input, random, pantry),
        _ => {
            let mut bytes = vec![0; random.usize(1..9)];
            random.fill(&mut bytes);
            insert(input, random, &bytes);
        }
    }
}

/// Some of the bytes; short stretches more often than long ones.
fn stretch(input: &[u8], random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(0..=input.len());
    let rest = input.len() - start;
    let longest = rest.min(1 << random.u32(0..9));
    let length = random.usize(0..=longest);
    start..start + length
}

fn choose<'a>(words: &[&'a str], random: &mut Rng) -> &'a str {
    words[random.usize(0..words.len())]
}

fn insert(input: &mut Vec<u8>, random: &mut Rng, bytes: &[u8]) {
    let at = random.usize(0..=input.len());
    input.splice(at..at, bytes.iter().copied());
}

fn flip(input: &mut [u8], random: &mut Rng) {
    if !input.is_empty() {
        let at = random.usize(0..input.len());
        input[at] ^= 1 << random.u32(0..8);
    }
}

fn overwrite(input: &mut [u8], random: &mut Rng) {
    if !input.is_empty() {
        let at = random.usize(0..input.len());
        input[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n', random.u8(..)][random.usize(0..9)];
    }
}

/// Puts another number in the place of one that is written in digits.
fn number(input: &mut Vec<u8>, random: &mut Rng) {
    const NUMBERS: [&str; 12] = [
        "0",
        "-1",
        "1",
        "255",
        "65536",
        "2147483648",
        "4294967295",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "99999999999999999999",
        "0.1",
    ];
    let from = random.usize(0..=input.len());
    let Some(start) = input[from..].iter().position(u8::is_ascii_digit) else { return };
    let start = from + start;
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = choose(&NUMBERS, random).as_bytes().to_vec();
    drop(input.splice(start..start + length, number));
}

/// Puts a word in the place of what stands behind a colon or an equals sign.
fn value(input: &mut Vec<u8>, random: &mut Rng, pantry: &Pantry<'_>) {
    let from = random.usize(0..=input.len());
    let Some(start) = input[from..].iter().position(|byte| b":=".contains(byte)) else { return };
    let start = from + start + 1;
    let is_end = |byte: &u8| b",}]\n".contains(byte);
    let length = input[start..].iter().position(is_end).unwrap_or(input.len() - start);
    let word = choose(pantry.words, random).as_bytes().to_vec();
    drop(input.splice(start..start + length, word));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_input_can_be_changed_and_stays_within_bounds() {
        let mut random = Rng::with_seed(1);
        let others = [b"{\"a\": 17}".to_vec(), Vec::new()];
        let pantry = Pantry { words: &["null", "[]"], others: &others };
        let mut input = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            mutate(&mut input, &mut random, &pantry);
            assert!(input.len() <= BYTES_MAX);
            seen.insert(input.clone());
        }
        assert!(seen.len() > 5_000, "{}", seen.len());
    }
}
