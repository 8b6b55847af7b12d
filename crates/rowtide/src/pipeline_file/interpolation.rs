use rowtide_core::{Error, Result};

/// Puts the values of variables into a text: `${NAME}` is the variable, `$${` is `${`.
///
/// `None` if there is nothing to put. Works on texts that are parsed already, so that no value of
/// a variable can become a key.
///
/// # Errors
/// `Config`, naming the variable that is not set.
pub(super) fn interpolate(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut whole = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            whole.push_str(before);
            whole.push_str("${");
            rest = after;
            continue;
        }
        whole.push_str(before);
        let Some((name, after)) = after.split_once('}') else { return Err(unclosed()) };
        if !is_name(name) {
            return Err(unnamed(name));
        }
        whole.push_str(&variable(name).ok_or_else(|| unset(name))?);
        rest = after;
    }
    whole.push_str(rest);
    Ok(Some(whole))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
}

fn unnamed(name: &str) -> Error {
    Error::config(format!("`{name}` cannot be the name of an environment variable"))
        .help(format!("write `${{NAME}}`, or `$${{{name}}}` if the text itself is meant"))
}

fn unset(name: &str) -> Error {
    Error::config(format!("the environment variable `{name}` is not set"))
        .help(format!("set {name}, or write `$${{{name}}}` if the text itself is meant"))
}

fn unclosed() -> Error {
    Error::config("`${` without its `}`").help("write `$${` if the text itself is meant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "TRICKY" => Some("${A}\"\nx = 1".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let whole = interpolate(text, variable).unwrap();
        assert_eq!(whole.as_deref().unwrap_or(text), expected);
    }

    #[test]
    fn variables_are_put_in_once() {
        check("plain $A {A} $", "plain $A {A} $");
        check("${A}", "1");
        check("x${A}y${A}z", "x1y1z");
        check("$${A}", "${A}");
        check("a$${A}b${A}", "a${A}b1");
        check("${TRICKY}", "${A}\"\nx = 1");
    }

    #[test]
    fn what_cannot_be_put_in_is_an_error() {
        let error = interpolate("x${NO}", variable).unwrap_err();
        assert_eq!(error.message(), "the environment variable `NO` is not set");
        assert!(interpolate("${A", variable).is_err());
        for odd in ["${}", "${ A }", "${A${B}}", "${A:-x}"] {
            let error = interpolate(odd, variable).unwrap_err();
            assert!(error.message().ends_with("cannot be the name of an environment variable"));
        }
    }
}
