//! The direction of dependencies: `core` knows nobody, plugins know `core`, only the runner knows
//! everything.

use crate::workspace::{Dependency, Package};

const RUNTIMES: [&str; 4] = ["async-std", "async-executor", "smol", "tokio"];
/// Files, the command line and logging are the runner's business.
const RUNNER_ONLY: [&str; 4] = ["clap", "figment", "toml", "tracing-subscriber"];
/// No program that is shipped holds these.
const TEST_SUPPORT: [&str; 4] =
    ["crates/fake-cockroachdb", "crates/fake-spanner", "crates/proxy", "crates/servers"];

/// Those of them that benchmarks and chaos run against.
const SERVERS: [&str; 4] =
    ["rowtide-fake-cockroachdb", "rowtide-fake-spanner", "rowtide-proxy", "rowtide-servers"];

pub(crate) fn problems(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            if let Some(reason) = forbidden(packages, package, dependency) {
                let place = format!("{}/Cargo.toml", package.folder);
                problems.push(format!("{place}: depends on `{}`: {reason}", dependency.name));
            }
        }
    }
    problems
}

fn forbidden(packages: &[Package], from: &Package, to: &Dependency) -> Option<&'static str> {
    let is_dev = to.kind.as_deref() == Some("dev");
    let is_of_tests = packages
        .iter()
        .any(|package| package.name == to.name && TEST_SUPPORT.contains(&&*package.folder));
    if is_of_tests {
        let is_server = SERVERS.contains(&&*to.name);
        let runs_servers = from.folder.starts_with("xtask") && is_server;
        // A port is what every one of them has.
        let has_port = TEST_SUPPORT.contains(&&*from.folder) && to.name == "rowtide-proxy";
        let is_fine = is_dev || runs_servers || has_port;
        return (!is_fine).then_some("it is for tests; make it a dev-dependency");
    }
    if from.folder == "crates/rowtide" {
        return None;
    }
    match packages.iter().find(|package| package.name == to.name) {
        Some(package) if is_dev && package.folder == "crates/conformance" => None,
        // A crate may test itself with more features.
        Some(package) if is_dev && package.folder == from.folder => None,
        Some(package) => forbidden_member(&from.folder, &package.folder),
        None if is_dev => None,
        None => forbidden_package(&from.folder, &to.name),
    }
}

fn forbidden_member(from: &str, to: &str) -> Option<&'static str> {
    match from.split('/').next() {
        _ if from == "crates/core" => Some("core depends on no crate of this workspace"),
        _ if TEST_SUPPORT.contains(&from) => {
            Some("what any test can use depends on no crate of this workspace")
        }
        _ if from == "crates/failpoint" => Some("a point can be anywhere, so it knows nobody"),
        Some("crates" | "plugins") if to == "crates/failpoint" => None,
        Some("crates") if to != "crates/core" => {
            Some("a crate of the machine depends on core only")
        }
        Some("plugins") if to.starts_with("plugins/") => {
            Some("a plugin depends on no other plugin; make what both need a crate, a noun")
        }
        Some("plugins")
            if ["crates/engine", "crates/rowtide", "crates/conformance"].contains(&to) =>
        {
            Some("a plugin knows neither the engine nor the runner")
        }
        Some("xtask") => Some("xtask runs the program; it does not link it"),
        _ => None,
    }
}

fn forbidden_package(from: &str, to: &str) -> Option<&'static str> {
    let is_xtask = from.split('/').next() == Some("xtask");
    let reads_settings = from == "crates/conformance" && to == "toml";
    match to {
        _ if from == "crates/proxy" && !["socket2", "tokio"].contains(&to) => Some(
            "the proxy depends on the runtime and what that needs, so that any test can have it",
        ),
        _ if from == "crates/core" && RUNTIMES.contains(&to) => Some("core depends on no runtime"),
        _ if RUNNER_ONLY.contains(&to) && !is_xtask && !reads_settings => {
            Some("only crates/rowtide knows files, the command line and logging")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str) -> Package {
        let name = format!("rowtide-{}", folder.rsplit('/').next().unwrap_or_default());
        Package { name, folder: folder.to_owned(), ..Package::default() }
    }

    fn check(from: &str, to: &str, kind: Option<&str>) -> usize {
        let folders =
            ["crates/core", "crates/engine", "crates/format", "crates/lockfile", "plugins/file"];
        let others = ["crates/conformance", "crates/failpoint", "crates/rowtide"];
        let others = others.into_iter().chain(["plugins/sqlite", "xtask"]).collect::<Vec<_>>();
        let others = folders.iter().chain(&others).chain(&TEST_SUPPORT);
        let mut packages: Vec<_> = others.map(|at| package(at)).collect();
        let kind = kind.map(str::to_owned);
        let dependency = Dependency { name: to.to_owned(), kind, optional: false };
        let package = packages.iter_mut().find(|package| package.folder == from).unwrap();
        package.dependencies.push(dependency);
        problems(&packages).len()
    }

    #[test]
    fn core_depends_on_nothing_of_ours_and_no_runtime() {
        assert_eq!(check("crates/core", "rowtide-format", None), 1);
        assert_eq!(check("crates/core", "tokio", None), 1);
        assert_eq!(check("crates/core", "tokio", Some("dev")), 0);
        assert_eq!(check("crates/core", "serde", None), 0);
    }

    #[test]
    fn the_machine_depends_on_core_only() {
        assert_eq!(check("crates/engine", "rowtide-core", None), 0);
        assert_eq!(check("crates/engine", "rowtide-engine", Some("dev")), 0);
        assert_eq!(check("crates/engine", "rowtide-format", None), 1);
        assert_eq!(check("crates/format", "rowtide-sqlite", None), 1);
        assert_eq!(check("crates/conformance", "rowtide-engine", Some("dev")), 1);
        assert_eq!(check("crates/rowtide", "rowtide-engine", None), 0);
    }

    #[test]
    fn a_plugin_knows_neither_engine_nor_plugin() {
        assert_eq!(check("plugins/file", "rowtide-engine", None), 1);
        assert_eq!(check("plugins/file", "rowtide-engine", Some("dev")), 1);
        assert_eq!(check("plugins/file", "rowtide-rowtide", None), 1);
        assert_eq!(check("plugins/file", "rowtide-sqlite", None), 1);
        assert_eq!(check("plugins/file", "rowtide-lockfile", None), 0);
        assert_eq!(check("plugins/file", "rowtide-conformance", None), 1);
        assert_eq!(check("plugins/file", "rowtide-conformance", Some("dev")), 0);
    }

    #[test]
    fn a_point_can_be_anywhere_but_in_core() {
        assert_eq!(check("crates/engine", "rowtide-failpoint", None), 0);
        assert_eq!(check("plugins/file", "rowtide-failpoint", None), 0);
        assert_eq!(check("crates/core", "rowtide-failpoint", None), 1);
        assert_eq!(check("crates/failpoint", "rowtide-core", None), 1);
    }

    #[test]
    fn only_tests_use_what_is_for_tests() {
        for from in ["crates/core", "crates/rowtide", "plugins/file"] {
            for to in ["rowtide-proxy", "rowtide-servers"] {
                assert_eq!(check(from, to, None), 1);
                assert_eq!(check(from, to, Some("dev")), 0);
            }
        }
        assert_eq!(check("xtask", "rowtide-proxy", None), 0);
        assert_eq!(check("xtask", "rowtide-servers", None), 0);
        assert_eq!(check("crates/servers", "rowtide-core", None), 1);
        assert_eq!(check("crates/servers", "rowtide-fake-spanner", None), 1);
        assert_eq!(check("crates/fake-spanner", "rowtide-proxy", None), 0);
        assert_eq!(check("crates/proxy", "tokio", None), 0);
        assert_eq!(check("crates/proxy", "rowtide-core", None), 1);
        assert_eq!(check("crates/proxy", "serde", None), 1);
    }

    #[test]
    fn only_the_runner_knows_toml() {
        assert_eq!(check("plugins/file", "toml", None), 1);
        assert_eq!(check("crates/engine", "tracing-subscriber", None), 1);
        assert_eq!(check("crates/conformance", "toml", None), 0);
        assert_eq!(check("crates/rowtide", "toml", None), 0);
        assert_eq!(check("xtask", "clap", None), 0);
        assert_eq!(check("xtask", "rowtide-core", None), 1);
    }
}
