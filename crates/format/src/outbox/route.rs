use regex::Regex;

/// How a topic is made of a value: the rule of Kafka Connect's RegexRouter.
///
/// A value that the expression matches as a whole has its first match replaced; any other is the
/// topic itself. A replacement is Java's: `${name}` and `$1` are groups, and a backslash takes the
/// meaning from what follows it.
#[derive(Clone, Debug)]
pub struct Route {
    regex: Regex,
    whole: Regex,
    replacement: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Group(usize),
}

impl Route {
    /// What matches by default: anything.
    pub const REGEX: &str = "(?<routedByValue>.*)";
    /// What it becomes by default.
    pub const REPLACEMENT: &str = "outbox.event.${routedByValue}";

    /// Makes a route of a regular expression and a replacement.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn new(regex: &str, replacement: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            Regex::new(text).map_err(|error| format!("`topic_regex` cannot be read: {error}"))
        };
        let parsed = compile(regex)?;
        let whole = compile(&format!(r"\A(?:{regex})\z"))?;
        let parts = parse(replacement, &parsed)
            .map_err(|reason| format!("`topic_replacement` cannot be read: {reason}"))?;
        Ok(Self { regex: parsed, whole, replacement: replacement.to_owned(), parts })
    }

    /// The topic of `value`.
    pub fn topic(&self, value: &str) -> String {
        let captures = self.whole.is_match(value).then(|| self.regex.captures(value)).flatten();
        let Some(captures) = captures else { return value.to_owned() };
        let Some(matched) = captures.get(0) else { return value.to_owned() };
        let mut topic = value[..matched.start()].to_owned();
        for part in &self.parts {
            match part {
                Part::Literal(text) => topic.push_str(text),
                Part::Group(group) => {
                    topic.push_str(captures.get(*group).map_or("", |group| group.as_str()));
                }
            }
        }
        topic.push_str(&value[matched.end()..]);
        topic
    }
}

fn parse(replacement: &str, regex: &Regex) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = replacement;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\\' => {
                let escaped = rest.chars().next().ok_or("a backslash is the last letter")?;
                literal.push(escaped);
                rest = &rest[escaped.len_utf8()..];
            }
            '$' => {
                let (group, after) = group(rest, regex)?;
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                parts.push(Part::Group(group));
                rest = after;
            }
            letter => literal.push(letter),
        }
    }
    parts.push(Part::Literal(literal));
    parts.retain(|part| *part != Part::Literal(String::new()));
    Ok(parts)
}

/// The group that is named after a dollar sign, and what follows it.
fn group<'a>(rest: &'a str, regex: &Regex) -> Result<(usize, &'a str), String> {
    if let Some(braced) = rest.strip_prefix('{') {
        let (name, after) = braced.split_once('}').ok_or("`${` without its `}`")?;
        let found = regex.capture_names().position(|group| group == Some(name));
        return Ok((found.ok_or_else(|| format!("there is no group `{name}`"))?, after));
    }
    // As in Java, a number goes on for as long as there is such a group.
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = |length: usize| rest[..length].parse::<usize>().ok();
    let is_group = |length: &usize| number(*length).is_some_and(|n| n < regex.captures_len());
    let length = (1..=digits).take_while(is_group).last();
    let length = length.ok_or("a `$` without a group; write `\\$` for the sign itself")?;
    Ok((number(length).unwrap_or_default(), &rest[length..]))
}

impl Default for Route {
    /// The topic `outbox.event.` with the value after it.
    fn default() -> Self {
        match Self::new(Self::REGEX, Self::REPLACEMENT) {
            Ok(route) => route,
            Err(reason) => unreachable!("{reason}"),
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        (self.regex.as_str(), &self.replacement) == (other.regex.as_str(), &other.replacement)
    }
}

impl Eq for Route {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(regex: &str, replacement: &str, value: &str, topic: &str) {
        assert_eq!(Route::new(regex, replacement).unwrap().topic(value), topic);
    }

    #[test]
    fn a_value_becomes_a_topic_as_in_kafka_connect() {
        assert_eq!(Route::default().topic("order"), "outbox.event.order");
        check("(?<a>[a-z]+)\\.(.*)", "x.$2.${a}", "order.line", "x.line.order");
        check("[a-z]+", "x.$0", "ORDER", "ORDER");
        // The first match is replaced, even where the whole needed another branch.
        check("a|ab", "x", "ab", "xb");
        check("(b)?.*", "<$1>", "a", "<>");
        check("(.*)", r"\$1\\$12", "a", r"$1\a2");
        check("(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)", "$11", "abcdefghijk", "k");
        check("größe(.*)", "ö$1", "größe.ü", "ö.ü");
    }

    #[test]
    fn a_route_that_cannot_work_is_refused() {
        for (regex, replacement) in
            [("(", "x"), ("x", "$1"), ("x", "${a}"), ("x", "${"), ("x", "$x"), ("x", "\\")]
        {
            assert!(Route::new(regex, replacement).is_err(), "{regex} {replacement}");
        }
    }
}
