/// The table that a query reads, as the parts of its name: what stands behind the first `FROM` that
/// is in no brackets.
pub(super) fn table_of(query: &str) -> Option<Vec<String>> {
    let mut tokens = Tokens { rest: query, depth: 0 };
    while let Some(token) = tokens.next() {
        let is_from = matches!(&token, Token::Word(word) if word == "from");
        if is_from && tokens.depth == 0 {
            return name(&mut tokens);
        }
    }
    None
}

fn name(tokens: &mut Tokens<'_>) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    loop {
        match tokens.next()? {
            Token::Word(part) | Token::Quoted(part) => parts.push(part),
            Token::Other => return None,
        }
        if !tokens.rest.trim_start().starts_with('.') {
            return Some(parts);
        }
        tokens.next();
    }
}

/// The parts of a name, of which some may be in quotes.
pub(super) fn parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut is_quoted = false;
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(character),
        }
    }
    parts.push(part);
    parts
}

enum Token {
    /// In lower case, as names without quotes are.
    Word(String),
    Quoted(String),
    Other,
}

struct Tokens<'q> {
    rest: &'q str,
    depth: usize,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<Token> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        if first == '"' || first == '\'' {
            let text = self.quoted(first);
            return Some(if first == '"' { Token::Quoted(text) } else { Token::Other });
        }
        let is_part = |part: char| part.is_alphanumeric() || part == '_' || part == '$';
        let end = self.rest.find(|part| !is_part(part)).unwrap_or(self.rest.len());
        if end == 0 {
            self.rest = &self.rest[first.len_utf8()..];
            match first {
                '(' => self.depth += 1,
                ')' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            return Some(Token::Other);
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Token::Word(word.to_lowercase()))
    }

    /// What stands in quotes; two of them are one of the text.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices().peekable();
        while let Some((index, character)) = characters.next() {
            if character != quote {
                text.push(character);
            } else if characters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.rest = &self.rest[index + 2..];
                return text;
            }
        }
        self.rest = "";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &[&str]) {
        assert_eq!(table_of(query).unwrap_or_default(), expected, "{query}");
    }

    #[test]
    fn quotes_are_no_part_of_a_name() {
        assert_eq!(parts("shop.public.\"Or.d\"\"ers\".f1"), ["shop", "public", "Or.d\"ers", "f1"]);
        assert_eq!(parts("My-Table"), ["My-Table"]);
    }

    #[test]
    fn the_table_of_a_query_is_what_stands_behind_from() {
        check("SELECT id FROM orders WHERE total > 100", &["orders"]);
        check("select * from Sales.\"Or\"\"ders\" AS o", &["sales", "Or\"ders"]);
        check(
            "SELECT ' from x' AS \"from y\" FROM shop . public . orders",
            &["shop", "public", "orders"],
        );
        check("SELECT extract(epoch FROM t) FROM orders@primary", &["orders"]);
        check("SELECT 1", &[]);
        check("SELECT 'from", &[]);
        check("SELECT 1 FROM (SELECT 2)", &[]);
    }
}
