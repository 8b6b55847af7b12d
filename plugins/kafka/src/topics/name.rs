//! What Kafka takes as the name of a topic.

/// As long as a topic's name may be.
const LENGTH_MAX: usize = 249;

/// Checks a name as it is.
///
/// # Errors
/// Why Kafka does not take it, without the name, which may come from a row.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if matches!(name, "" | "." | "..") {
        return Err("the topic has no name".to_owned());
    }
    if name.len() > LENGTH_MAX {
        return Err(format!("the topic's name is longer than {LENGTH_MAX} bytes"));
    }
    match name.chars().all(is_fit) {
        true => Ok(()),
        false => Err("the topic's name has letters that Kafka does not take".to_owned()),
    }
}

/// Makes `_` of the letters that no topic has and tables may have, as Debezium does.
pub(super) fn mend(name: &mut String) {
    if !name.chars().all(is_fit) {
        *name = name.chars().map(|letter| if is_fit(letter) { letter } else { '_' }).collect();
    }
}

fn is_fit(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_and_not_shown() {
        let reason = check("a secret").unwrap_err();
        assert!(!reason.contains("secret"), "{reason}");
        for wrong in ["", ".", "..", "größe", &"x".repeat(250)] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check("orders.v1_2-x").is_ok());
        assert!(check(&"x".repeat(249)).is_ok());
    }

    #[test]
    fn letters_that_no_topic_has_become_underscores() {
        let mut name = "shop.große größe".to_owned();
        mend(&mut name);
        assert_eq!(name, "shop.gro_e_gr__e");
    }
}
