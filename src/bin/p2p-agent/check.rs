//! `p2p-agent check`: may `run` start here by itself, and would it? If not, why? The policy first, then the steps of `run`,
//! taken back again. Off by policy is an exit code of its own, so that an init script can tell it from a mistake.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use p2p_agent::policy::{Decision, Device, Marker, Reason, count_cores, decide};

use crate::Failure;
use crate::cli::{Options, exit};
use crate::net::interfaces::why_none;
use crate::net::ports::Ports;
use crate::run::{Setup, socket_is_free};
use crate::store::Store;
use crate::switch::{Switch, look_for};
use crate::{jail, process, run};

/// One sentence either way.
pub fn check(options: &Options) -> Result<String, Failure> {
    // What is off needs neither user nor ports.
    policy_as_seen(options)?;
    let setup = Setup::new(options)?;
    socket_can_be_made(&options.socket)?;
    if options.jail {
        jail::check(&options.content, &options.config_dir)?;
    }
    if let Some(user) = process::user_to_become(&options.user)? {
        process::become_user(&user)?;
    }
    // As that user: the daemon looks for the file with the same rights.
    let why = policy_as_seen(options)?;
    let store = Store::open(&options.content, &setup.domain_keys)
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("{error}.")))?;
    let taken = |error: std::io::Error| Failure::new(exit::UNAVAILABLE, format!("{error}."));
    drop(Ports::new(setup.mode, 1).and_then(|mut ports| ports.open(options.port)).map_err(taken)?);
    let links = setup.mode.interfaces(&setup.filter).map_err(taken)?;
    let names: Vec<_> = links.iter().map(|link| format!("{} ({}/{})", link.name, link.addr, link.prefix)).collect();
    let mut sentence = format!("p2p-agent would start, because {why}");
    match names.as_slice() {
        [] => {
            let why = why_none(&setup.filter);
            sentence.push_str(&format!(", and wait for a usable network interface; there is none now{why}"));
        }
        names => sentence.push_str(&format!(", on {}", names.join(", "))),
    }
    if !store.stats().present {
        let content = options.content.display();
        sentence.push_str(&format!("; it would wait for the content directory {content}, which does not exist now"));
    }
    Ok(sentence + ".")
}

/// Only whether it may start by itself, and why: whatever else is wrong, `run` will say it.
pub fn policy(options: &Options) -> Result<String, Failure> {
    if let Ok(Some(user)) = process::user_to_become(&options.user) {
        process::become_user(&user)?;
    }
    policy_as_seen(options)
}

/// Enters the jail as `run` does, and says what has come of each step.
pub fn jail(options: &Options) -> Result<String, Failure> {
    let user = process::user_to_become(&options.user)?;
    let mut report = jail::Report::default();
    run::confine(&Options { jail: true, ..options.clone() }, user.as_ref(), &mut report)?;
    jail::after_the_setup(&mut report)?;
    Ok(report.to_string())
}

fn policy_as_seen(options: &Options) -> Result<String, Failure> {
    let off = |why| Err(Failure::new(exit::OFF, format!("P2P is off because {why}.")));
    if let Some(why) = Switch::new(&options.config_dir).off() {
        return off(format!("{why}; remove that file to switch it on"));
    }
    let opt_in = options.config_dir.join("p2p");
    let device = Device { no_p2p: Marker::Absent, p2p: look_for(&opt_in).0, cores: cores() };
    match decide(options.start, &device) {
        Decision::On(Reason::AskedFor) => Ok(format!("{} exists", opt_in.display())),
        Decision::On(why) => Ok(why.to_string()),
        Decision::Off(why @ (Reason::OneCore | Reason::UnknownCores)) => {
            off(format!("{why}; create {} to switch it on", opt_in.display()))
        }
        Decision::Off(why) => off(why.to_string()),
    }
}

/// Processors of the device, whatever part of them this process may use.
fn cores() -> Option<u32> {
    count_cores(&std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?)
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
