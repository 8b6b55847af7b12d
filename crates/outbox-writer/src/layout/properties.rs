use std::fmt::Write;

/// Writes entries as a text of Java properties, which is what the router reads.
pub(super) fn write(entries: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in entries {
        escape(&mut text, name, " =:#!");
        text.push('=');
        // Only a blank at the beginning would be taken for no part of the value.
        let blanks = value.len() - value.trim_start_matches(' ').len();
        text.extend(std::iter::repeat_n("\\ ", blanks));
        escape(&mut text, &value[blanks..], "");
        text.push('\n');
    }
    text
}

fn escape(text: &mut String, part: &str, special: &str) {
    for letter in part.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            letter if special.contains(letter) => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            letter => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expected: &str) {
        assert_eq!(write(&[(name.to_owned(), value.to_owned())]), format!("{expected}\n"));
    }

    #[test]
    fn a_trace_context_is_written_as_java_reads_it() {
        check("traceparent", "00-a-b-01", "traceparent=00-a-b-01");
        check("tracestate", "a=1,b: 2", "tracestate=a=1,b: 2");
        check("a b=:#!", "  x ", "a\\ b\\=\\:\\#\\!=\\ \\ x ");
        check("k", "a\\b\nc\rd\te", "k=a\\\\b\\nc\\rd\\te");
        check("ü", "😀", "\\u00fc=\\ud83d\\ude00");
    }
}
