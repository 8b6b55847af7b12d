use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::Result;

/// The packages of the repository, as cargo sees them.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: std::collections::BTreeMap<String, Vec<String>>,
    /// Where the package is, from the root of the repository, such as `crates/core`.
    #[serde(skip)]
    pub(crate) folder: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal one; else `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

impl Workspace {
    /// The repository that this program was built from.
    pub(crate) fn here() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::at(folder.parent().ok_or("xtask has no parent folder")?)
    }

    /// The repository at `root`.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(root)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let Metadata { mut packages, target_directory } = serde_json::from_slice(&output.stdout)?;
        let root = root.canonicalize()?;
        for package in &mut packages {
            let folder = package.manifest_path.parent().ok_or("a manifest without a folder")?;
            package.folder = folder.strip_prefix(&root)?.to_string_lossy().into_owned();
        }
        Ok(Self { root, target: target_directory, packages })
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The packages under `plugins/`.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.folder.starts_with("plugins/"))
    }

    /// The file at `path` from the root; `None` if there is none.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.root.join(path)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{path}: {error}").into()),
        }
    }

    /// The files below `folder` that end in `.extension`, in order, as paths from the root.
    pub(crate) fn files(&self, folder: &str, extension: &str) -> Result<Vec<String>> {
        let mut files = Vec::new();
        collect(&self.root.join(folder), extension, &mut files)?;
        let from_root =
            |path: &PathBuf| path.strip_prefix(&self.root).map(|path| path.display().to_string());
        let mut files = files.iter().map(from_root).collect::<Result<Vec<_>, _>>()?;
        files.sort();
        Ok(files)
    }
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, extension, files)?;
        } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

impl Package {
    /// The last part of the folder: what a plugin's feature is called.
    pub(crate) fn folder_name(&self) -> &str {
        self.folder.rsplit('/').next().unwrap_or_default()
    }
}
