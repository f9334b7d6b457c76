//! The two programs, built by the same cargo into the same target directory as this example.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// Paths of the programs.
pub struct Programs {
    /// `p2p-agent`.
    pub agent: PathBuf,
    /// `p2p-fetch`.
    pub fetch: PathBuf,
}

impl Programs {
    /// Builds them, optimised: a demonstration with debug builds would measure the wrong thing.
    pub fn build(with_agent: bool) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(3).ok_or("this program is not in a cargo target directory")?;
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--quiet", "--bin", "p2p-fetch"]);
        if with_agent {
            build.args(["--bin", "p2p-agent"]);
        }
        build.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target);
        if !build.status().map_err(|error| format!("cargo cannot be started: {error}"))?.success() {
            return Err("the programs could not be built".into());
        }
        let release = target.join("release");
        Ok(Self { agent: release.join("p2p-agent"), fetch: release.join("p2p-fetch") })
    }
}
