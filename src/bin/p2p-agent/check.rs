//! `p2p-agent check`: would `run` start here, and if not, why? The same steps, taken back again.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::Failure;
use crate::cli::{Options, exit};
use crate::net::{tcp, udp};
use crate::process;
use crate::run::{Setup, Switch, socket_is_free};
use crate::store::Store;

/// One sentence either way.
pub fn check(options: &Options) -> Result<String, Failure> {
    let setup = Setup::new(options)?;
    socket_can_be_made(&options.socket)?;
    if let Some(user) = process::user_to_become(&options.user)? {
        process::become_user(&user)?;
    }
    // As that user: the daemon looks for the file with the same rights.
    if let Some(why) = Switch::new(&options.config_dir).off() {
        return Err(Failure::new(1, format!("P2P is off because {why}; remove that file to switch it on.")));
    }
    Store::open(&options.content, &setup.domain_keys)
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("{error}.")))?;
    let taken = |error: std::io::Error| Failure::new(exit::UNAVAILABLE, format!("{error}."));
    async_io::block_on(async {
        drop(udp::Port::open(setup.mode, options.port).map_err(taken)?);
        drop(tcp::listen(setup.mode, options.port).map_err(taken)?);
        Ok::<(), Failure>(())
    })?;
    let links = setup.mode.interfaces(&setup.filter).map_err(taken)?;
    let names: Vec<_> = links.iter().map(|link| format!("{} ({}/{})", link.name, link.addr, link.prefix)).collect();
    Ok(match names.len() {
        0 => "p2p-agent would start and wait for a usable network interface; there is none now.".to_owned(),
        _ => format!("p2p-agent would start, on {}.", names.join(", ")),
    })
}

/// The path is free, and its directory can be written.
fn socket_can_be_made(path: &Path) -> Result<(), Failure> {
    let failure = |sentence| Err(Failure::new(exit::UNAVAILABLE, sentence));
    socket_is_free(path)?;
    // The nearest directory that exists is where the rest would be made.
    let directory = path.ancestors().skip(1).find(|directory| directory.is_dir()).unwrap_or(Path::new("."));
    if access(directory, AccessFlags::W_OK).is_err() {
        return failure(format!(
            "the socket {} cannot be made: {} is not writable; name another with --socket.",
            path.display(),
            directory.display()
        ));
    }
    Ok(())
}
