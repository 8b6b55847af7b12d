use super::*;

#[track_caller]
fn check_in(path: &str, text: &str, expected: &[&str]) {
    let mut file = File::new(path);
    file.look(text);
    assert_eq!(file.problems, expected);
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_in("a.rs", text, expected);
}

#[test]
fn good_code_has_no_problems() {
    check("fn position(table: &str) -> usize {\n    table.len()\n}\n", &[]);
}

#[test]
fn a_long_function_is_a_problem() {
    let body = "    let _ = 1;\n".repeat(68);
    check(&format!("fn a() {{\n{body}}}\n"), &[]);
    let body = "    let _ = 1;\n".repeat(69);
    check(&format!("fn a() {{\n{body}}}\n"), &["a.rs:1: `a` has 71 lines, at most 70"]);
}

#[test]
fn a_long_method_is_a_problem() {
    let body = "    let _ = 1;\n".repeat(69);
    let expected = ["a.rs:1: `a` has 71 lines, at most 70"];
    check(&format!("impl A {{ fn a() {{\n{body}}} }}\n"), &expected);
    check(&format!("trait A {{ fn a() {{\n{body}}} }}\n"), &expected);
}

#[test]
fn a_long_file_is_a_problem() {
    check(&"\n".repeat(500), &[]);
    check(&"\n".repeat(501), &["a.rs: 501 lines, at most 500"]);
}

#[test]
fn a_sixth_parameter_is_a_problem() {
    check("fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}", &[]);
    let six = "fn f(&self, b: u8, c: u8, d: u8, e: u8, g: u8) {}";
    check(&format!("impl A {{ {six} }}"), &["a.rs:1: `f` has more than 5 parameters"]);
    check(&format!("impl A for B {{ {six} }}"), &[]);
}

#[test]
fn a_boolean_parameter_is_a_problem() {
    check("fn f(a: u8, b: bool) {}", &["a.rs:1: `f` takes a boolean; make it an enum"]);
    check("fn f(b: bool) {}", &[]);
    check("fn write(out: &mut Vec<u8>, value: bool) {}", &[]);
    check("mod tests { fn f(a: u8, b: bool) {} }", &[]);
    check("impl Visitor for A { fn visit_bool(self, b: bool) {} }", &[]);
}

#[test]
fn an_abbreviation_is_a_problem() {
    check("fn f(pos: u8) {}", &["a.rs:1: `pos`: write `position`"]);
    check("struct A { last_pos: u8 }", &["a.rs:1: `last_pos`: write `position`"]);
    check("fn f() { let cfg = 1; }", &["a.rs:1: `cfg`: write `config`"]);
    check("fn open_conn() {}", &["a.rs:1: `open_conn`: write `connection`"]);
    check("fn f(position: u8, possible: u8) {}", &[]);
}

#[test]
fn an_allowed_lint_is_a_problem() {
    let expected = ["a.rs:1: `allow`: write `#[expect(…, reason = \"…\")]`"];
    check("#[allow(dead_code)] fn f() {}", &expected);
    check("#[expect(dead_code, reason = \"…\")] fn f() {}", &[]);
}

#[test]
fn a_module_that_says_nothing_is_a_problem() {
    check("mod utils;", &["a.rs:1: `utils` says nothing; name a noun"]);
    let expected = ["src/common/a.rs: `common` says nothing; name a noun"];
    check_in("src/common/a.rs", "", &expected);
}

#[test]
fn an_undocumented_public_item_of_core_is_a_problem() {
    let expected = ["crates/core/src/a.rs:1: public and not documented"];
    for item in ["pub fn f() {}", "pub struct A;", "pub enum A {}", "pub trait A {}"] {
        check_in("crates/core/src/a.rs", item, &expected);
        check_in("crates/core/src/a.rs", &format!("/// Does.\n{item}"), &[]);
        check_in("crates/engine/src/a.rs", item, &[]);
    }
    check_in("crates/core/src/a.rs", "pub(crate) fn f() {}", &[]);
}

#[test]
fn foreign_words_have_a_word_of_ours() {
    assert_eq!(names::foreign("start_offset"), Some("position"));
    assert_eq!(names::foreign("flush_every"), None);
}
