//! Sizes, names and attributes, from the syntax trees of all Rust files.

pub(crate) mod names;

use proc_macro2::Span;
use syn::{
    Attribute, Block, Field, FnArg, ImplItem, ItemFn, ItemImpl, ItemMod, Pat, PatIdent, PatType,
    Signature, TraitItemFn, Type, Visibility, visit, visit::Visit,
};

use crate::{Result, workspace::Workspace};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const PARAMETERS: usize = 5;
const MEDIAN_LINES: usize = 10;

/// The crates whose public items must all be documented.
const DOCUMENTED: [&str; 2] = ["crates/core/src", "crates/conformance/src"];

pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut lines = Vec::new();
    for path in workspace.files("", "rs")? {
        let text = workspace.text(&path)?.unwrap_or_default();
        let mut file = File::new(&path);
        file.look(&text);
        problems.append(&mut file.problems);
        lines.append(&mut file.function_lines);
    }
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or_default();
    println!("{} functions, median {median} lines", lines.len());
    if median >= MEDIAN_LINES {
        problems.push(format!("the median function has {median} lines; it must stay under 10"));
    }
    Ok(problems)
}

/// One file, while it is looked at.
struct File<'a> {
    path: &'a str,
    problems: Vec<String>,
    function_lines: Vec<usize>,
    /// The implementation of a trait does not choose its own signatures.
    in_trait_impl: bool,
    in_tests: bool,
}

impl<'a> File<'a> {
    fn new(path: &'a str) -> Self {
        let in_tests = path.split('/').any(|part| ["tests", "tests.rs"].contains(&part));
        let (problems, function_lines) = (Vec::new(), Vec::new());
        Self { path, problems, function_lines, in_trait_impl: false, in_tests }
    }

    fn look(&mut self, text: &str) {
        let lines = text.lines().count();
        if lines > FILE_LINES {
            self.problems.push(format!("{}: {lines} lines, at most {FILE_LINES}", self.path));
        }
        if let Some(name) = names::banned_in_path(self.path) {
            self.problems.push(format!("{}: `{name}` says nothing; name a noun", self.path));
        }
        match syn::parse_file(text) {
            Ok(tree) => self.visit_file(&tree),
            Err(error) => self.problems.push(format!("{}: {error}", self.path)),
        }
    }

    fn problem(&mut self, at: Span, message: &str) {
        self.problems.push(format!("{}:{}: {message}", self.path, at.start().line));
    }

    fn function(&mut self, signature: &Signature, body: Option<&Block>) {
        if let Some(body) = body {
            let first = signature.fn_token.span.start().line;
            let lines = body.brace_token.span.close().end().line - first + 1;
            self.function_lines.push(lines);
            if lines > FUNCTION_LINES {
                let message =
                    format!("`{}` has {lines} lines, at most {FUNCTION_LINES}", signature.ident);
                self.problem(signature.ident.span(), &message);
            }
        }
        self.name(&signature.ident.to_string(), signature.ident.span());
        if !self.in_trait_impl {
            self.parameters(signature);
        }
    }

    fn parameters(&mut self, signature: &Signature) {
        if signature.inputs.len() > PARAMETERS {
            let message = format!("`{}` has more than {PARAMETERS} parameters", signature.ident);
            self.problem(signature.ident.span(), &message);
        }
        let typed = signature.inputs.iter().filter_map(|argument| match argument {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        });
        // The only argument, or one called `value`, is what the function is about; else a switch.
        let typed: Vec<_> = typed.collect();
        if typed.len() > 1 && typed.iter().any(|typed| is_switch(typed)) && !self.in_tests {
            let message = format!("`{}` takes a boolean; make it an enum", signature.ident);
            self.problem(signature.ident.span(), &message);
        }
    }

    fn name(&mut self, name: &str, at: Span) {
        if let Some(word) = names::abbreviation(name) {
            self.problem(at, &format!("`{name}`: write `{word}`"));
        }
    }

    fn documented(&mut self, visibility: &Visibility, attributes: &[Attribute], at: Span) {
        let is_covered = DOCUMENTED.iter().any(|folder| self.path.starts_with(folder));
        let has_document = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
        if is_covered && matches!(visibility, Visibility::Public(_)) && !has_document {
            self.problem(at, "public and not documented");
        }
    }
}

fn is_switch(typed: &PatType) -> bool {
    let is_bool = matches!(&*typed.ty, Type::Path(path) if path.path.is_ident("bool"));
    is_bool && !matches!(&*typed.pat, Pat::Ident(name) if name.ident == "value")
}

impl<'ast> Visit<'ast> for File<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, Some(&item.block));
        self.documented(&item.vis, &item.attrs, item.sig.ident.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let outer = std::mem::replace(&mut self.in_trait_impl, item.trait_.is_some());
        for method in &item.items {
            let ImplItem::Fn(method) = method else { continue };
            self.function(&method.sig, Some(&method.block));
            // A constructor and a getter may speak for themselves.
            if method.block.stmts.len() > 1 {
                self.documented(&method.vis, &method.attrs, method.sig.ident.span());
            }
        }
        visit::visit_item_impl(self, item);
        self.in_trait_impl = outer;
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.documented(&item.vis, &item.attrs, item.ident.span());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.documented(&item.vis, &item.attrs, item.ident.span());
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.documented(&item.vis, &item.attrs, item.ident.span());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if names::is_banned_module(&item.ident.to_string()) {
            self.problem(item.ident.span(), &format!("`{}` says nothing; name a noun", item.ident));
        }
        let outer = self.in_tests;
        self.in_tests |= item.ident == "tests";
        visit::visit_item_mod(self, item);
        self.in_tests = outer;
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = &field.ident {
            self.name(&name.to_string(), name.span());
        }
        visit::visit_field(self, field);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        self.name(&pattern.ident.to_string(), pattern.ident.span());
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("allow") {
            self.problem(
                attribute.pound_token.span,
                "`allow`: write `#[expect(…, reason = \"…\")]`",
            );
        }
        visit::visit_attribute(self, attribute);
    }
}

#[cfg(test)]
mod tests;
