use super::{SqlError, syntax_error};

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword, in lower case unless it was in quotes.
    Word(String),
    /// A text in single quotes, without them.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// Anything else, one character.
    Symbol(char),
}

/// Cuts a statement into tokens.
pub(crate) fn tokens(sql: &str) -> Result<Vec<Token>, SqlError> {
    let mut rest = sql;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else {
            let (token, after) = token(rest, first)?;
            tokens.push(token);
            rest = after;
        }
    }
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(Token, &str), SqlError> {
    let word = |character: char| character.is_alphanumeric() || "_$".contains(character);
    match first {
        '\'' => quoted(rest, '\'').map(|(text, rest)| (Token::Text(text), rest)),
        '"' => quoted(rest, '"').map(|(text, rest)| (Token::Word(text), rest)),
        'e' | 'E' | 'b' | 'B' if rest[1..].starts_with('\'') => {
            quoted(&rest[1..], '\'').map(|(text, rest)| (Token::Text(text), rest))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let end = rest.find(|character| !word(character)).unwrap_or(rest.len());
            Ok((Token::Word(rest[..end].to_lowercase()), &rest[end..]))
        }
        _ if first.is_ascii_digit() => {
            let end = number_end(rest);
            Ok((Token::Number(rest[..end].to_owned()), &rest[end..]))
        }
        _ => Ok((Token::Symbol(first), &rest[first.len_utf8()..])),
    }
}

/// Where a number ends; `1e-9` is one.
fn number_end(text: &str) -> usize {
    let mut previous = ' ';
    for (index, character) in text.char_indices() {
        let sign = "+-".contains(character) && "eE".contains(previous);
        if !(character.is_ascii_digit() || ".eE".contains(character) || sign) {
            return index;
        }
        previous = character;
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), SqlError> {
    let mut found = String::new();
    let mut rest = &text[1..];
    while let Some((head, tail)) = rest.split_once(quote) {
        found.push_str(head);
        match tail.strip_prefix(quote) {
            Some(after) => {
                found.push(quote);
                rest = after;
            }
            None => return Ok((found, tail)),
        }
    }
    Err(syntax_error("unterminated string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_cut_into_tokens() {
        let found = tokens("SELECT \"A\"\"b\", 'it''s' FROM t -- x\nWHERE a=-1.5e-3").unwrap();
        let word = |text: &str| Token::Word(text.to_owned());
        let expected = [
            word("select"),
            word("A\"b"),
            Token::Symbol(','),
            Token::Text("it's".to_owned()),
            word("from"),
            word("t"),
            word("where"),
            word("a"),
            Token::Symbol('='),
            Token::Symbol('-'),
            Token::Number("1.5e-3".to_owned()),
        ];
        assert_eq!(found, expected);
        assert!(tokens("'open").is_err());
    }
}
