use std::{iter::Peekable, str::Chars};

/// Reads a text of Java properties, such as `traceparent=00-…`, in the order of the text. Of a name
/// that is there twice, the later value counts.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = Vec::new();
    let mut letters = text.chars().peekable();
    while skip_to_entry(&mut letters) {
        let (name, value) = entry(&mut letters);
        match properties.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => properties.push((name, value)),
        }
    }
    properties
}

/// Skips blanks, empty lines and comments; returns whether an entry follows.
fn skip_to_entry(letters: &mut Peekable<Chars<'_>>) -> bool {
    loop {
        match letters.peek() {
            None => return false,
            Some('#' | '!') => while letters.next_if(|letter| !is_end(*letter)).is_some() {},
            Some(letter) if is_blank(*letter) || is_end(*letter) => drop(letters.next()),
            Some(_) => return true,
        }
    }
}

fn entry(letters: &mut Peekable<Chars<'_>>) -> (String, String) {
    let name = word(letters, |letter| is_blank(letter) || letter == '=' || letter == ':');
    skip_blanks(letters);
    if letters.next_if(|letter| *letter == '=' || *letter == ':').is_some() {
        skip_blanks(letters);
    }
    (name, word(letters, |_| false))
}

fn skip_blanks(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|letter| is_blank(*letter)).is_some() {}
}

/// The letters up to the end of the logical line, or up to one that ends the word.
fn word(letters: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> String {
    let mut word = Vec::new();
    while let Some(letter) = letters.next_if(|letter| !is_end(*letter) && !ends(*letter)) {
        match letter {
            '\\' => escaped(letters, &mut word),
            letter => word.extend(letter.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    // Two escapes may be the halves of one letter.
    String::from_utf16_lossy(&word)
}

fn escaped(letters: &mut Peekable<Chars<'_>>, word: &mut Vec<u16>) {
    let Some(letter) = letters.next() else { return };
    let letter = match letter {
        '\r' | '\n' => {
            // The line goes on; a line break may have two letters.
            if letter == '\r' {
                letters.next_if_eq(&'\n');
            }
            return skip_blanks(letters);
        }
        'u' => return word.push(code(letters)),
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{c}',
        letter => letter,
    };
    word.extend(letter.encode_utf16(&mut [0; 2]).iter());
}

fn code(letters: &mut Peekable<Chars<'_>>) -> u16 {
    let mut code = 0;
    for _ in 0..4 {
        let Some(letter) = letters.next_if(char::is_ascii_hexdigit) else { break };
        code = code * 16 + letter.to_digit(16).unwrap_or_default();
    }
    // Four digits fit.
    u16::try_from(code).unwrap_or_default()
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\u{c}')
}

fn is_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let properties = parse(text);
        let properties: Vec<_> =
            properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(properties, expected);
    }

    #[test]
    fn a_trace_context_is_read_as_java_reads_it() {
        check("", &[]);
        check("#Tue Nov 21\n\ntraceparent=00-a-b-01\n", &[("traceparent", "00-a-b-01")]);
        check("a=1\r\nb : 2\rc 3\n!x=y\nd", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "")]);
        check("a=1\na=2", &[("a", "2")]);
        check("  a\\ b\\= = c = d ", &[("a b=", "c = d ")]);
        check("a=one,\\\r\n   two\\\n", &[("a", "one,two")]);
        check("a=\\u00fc\\ud83d\\ude00\\t\\q\\u4", &[("a", "ü😀\tq\u{4}")]);
        check("=x", &[("", "x")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_plain_entries_are_found(
            noise in "\\PC{0,20}",
            name in "[a-z]{1,8}",
            value in "[a-z0-9=:-]{0,20}",
        ) {
            parse(&noise);
            let text = format!("# {noise}\n{name}={value}");
            // A comment ends with its line, which no printed letter is the end of.
            let trimmed = value.trim_start_matches([' ']).to_owned();
            prop_assert_eq!(parse(&text), [(name, trimmed)]);
        }
    }
}
