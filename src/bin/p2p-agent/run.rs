//! `p2p-agent run`: sets everything up while it still may, becomes its user, and then runs two nested sets of tasks: what is always
//! there (content directory, local API, the switch) and what exists only while P2P is on (sockets, peers). Switching off drops
//! the inner set as a whole, so nothing can be left open.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;

use async_io::{Async, Timer};
use log::info;
use nix::unistd::User;
use p2p_agent::agent::Agent;
use p2p_agent::content::{ContentMd5, PublicId};
use p2p_agent::keys::DomainKey;
use p2p_agent::limits::{CONNECTING_SOCKETS, DOMAIN_KEYS, FETCH_BEACON, PORT_SETS, SWITCH_CHECK};
use p2p_agent::random::Random;
use smol::LocalExecutor;
use smol::future::or;

use crate::cli::{Options, exit};
use crate::device::{Device, Parts};
use crate::jail::{self, Places};
use crate::net::Mode;
use crate::net::interfaces::Filter;
use crate::net::outgoing::Outgoing;
use crate::net::ports::Ports;
use crate::notify::Notifier;
use crate::store::Store;
use crate::switch::{Switch, network};
use crate::{Failure, api, ask, clock, logger, process};

/// What the options mean on this machine; making it changes nothing.
pub struct Setup {
    /// Loopback or links.
    pub mode: Mode,
    /// Which links.
    pub filter: Filter,
    /// At least one; the open key when none is set.
    pub domain_keys: heapless::Vec<DomainKey, DOMAIN_KEYS>,
}

impl Setup {
    /// Reads what the options name.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let usage = |error: std::io::Error| Failure::new(exit::USAGE, format!("{error}."));
        let mode = Mode::for_address(options.address).map_err(usage)?;
        let filter = match options.interfaces.is_empty() {
            true => Filter::Default,
            false => Filter::named(options.interfaces.iter().map(String::as_str)).map_err(usage)?,
        };
        let domain_keys = match &options.domain_key {
            Some(path) => read_domain_keys(path)?,
            None => heapless::Vec::from_iter([DomainKey::open()]),
        };
        Ok(Self { mode, filter, domain_keys })
    }
}

fn read_domain_keys(path: &Path) -> Result<heapless::Vec<DomainKey, DOMAIN_KEYS>, Failure> {
    let name = path.display();
    let file = std::fs::read(path)
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("the domain key {name} cannot be read: {error}.")))?;
    DomainKey::parse_file(&file).map_err(|error| {
        Failure::new(
            exit::DATA,
            format!(
                "the domain key {name} is wrong: {error}; it takes one line as `openssl rand -hex 32` makes it, or two."
            ),
        )
    })
}

/// Runs until stopped.
pub fn run(options: &Options) -> Result<(), Failure> {
    process::close_inherited();
    logger::start(options.log);
    let notifier = Notifier::from_environment();
    let setup = Setup::new(options)?;
    let user = process::user_to_become(&options.user)?;
    info!("p2p-agent {} with {}", env!("CARGO_PKG_VERSION"), options.content.display());
    let os_version = options.os_version.clone().unwrap_or_else(process::os_version);
    // As it fits into a probe, so that every place shows the same.
    let os_version = p2p_agent::wire::os_version(&os_version).as_str().to_owned();
    let listener = bind(&options.socket)?;
    if let Some(user) = &user {
        process::hand_over(&options.socket, user)?;
    }
    let mut report = jail::Report::default();
    let places = confine(options, user.as_ref(), &mut report)?;
    let store = Store::open(&places.content, &setup.domain_keys)
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("{error}.")))?;
    let mut agent = Agent::new(&os_version, Random::from_seed(process::seed()?));
    agent.set_may_fetch(!options.never_fetch);
    agent.set_upload_limit(options.max_upload);
    // The last sockets of their kind.
    let no_sockets = |error: std::io::Error| Failure::new(exit::OS, format!("its sockets cannot be made: {error}."));
    let ports = Ports::new(setup.mode, PORT_SETS).map_err(no_sockets)?;
    let outgoing = Outgoing::new(setup.mode, CONNECTING_SOCKETS).map_err(no_sockets)?;
    if options.jail {
        jail::after_the_setup(&mut report)?;
    }
    drop(report);
    let executor = Rc::new(LocalExecutor::new());
    let device = Rc::new(Device::new(Parts {
        agent,
        store: Rc::new(store),
        executor: executor.clone(),
        mode: setup.mode,
        outgoing: Rc::new(outgoing),
        port: options.port,
        domain_keys: setup.domain_keys,
        max_upload: options.max_upload,
        os_version,
    }));
    let listener = Async::new(listener).map_err(|error| Failure::new(exit::OS, format!("no event loop: {error}.")))?;
    executor
        .spawn({
            let store = device.store.clone();
            async move { store.watch().await }
        })
        .detach();
    executor.spawn(api::accept(device.clone(), listener)).detach();
    executor.spawn(watch_fetches(device.clone())).detach();
    let switch = Switch::new(&places.config);
    let network = network(&device, ports, &setup.filter, &switch, &notifier);
    let by_landlock = options.jail && !places.changes.own_root();
    let beat = async { match notifier.beat().await {} };
    async_io::block_on(executor.run(or(or(network, worn_out(&device, &places, by_landlock)), beat)))
}

/// Gives up what needs to be given up before anything from outside is looked at. In the jail the directories may have other paths.
pub fn confine(options: &Options, user: Option<&User>, report: &mut jail::Report) -> Result<Places, Failure> {
    let places = match options.jail {
        true => jail::before_the_user(&options.content, &options.config_dir, report)?,
        false => Places {
            content: options.content.clone(),
            config: options.config_dir.clone(),
            changes: jail::Changes::default(),
        },
    };
    if let Some(user) = user {
        process::become_user(user)?;
    }
    process::step_back(options.priority);
    process::renounce_new_privileges()?;
    if options.jail {
        jail::before_the_threads(&places, options.port, report)?;
    }
    Ok(places)
}

/// Ends the daemon when its jail has not what it needs any more: whoever started it starts it again. The directories outside are not those
/// in the jail, or its sockets belong to interfaces that are gone.
async fn worn_out(device: &Device, places: &Places, by_landlock: bool) -> Result<(), Failure> {
    // Landlock's rule is about the directory at the start: what is mounted over its parent later is out of its reach.
    let out_of_reach = || {
        by_landlock
            && std::fs::File::open(&places.content)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    loop {
        Timer::after(SWITCH_CHECK).await;
        if places.changes.seen() || out_of_reach() {
            let (content, config) = (places.content.display(), places.config.display());
            return Err(Failure::new(
                exit::AGAIN,
                format!(
                    "{content} or {config} was created or replaced while the agent was running; restart it to use it."
                ),
            ));
        }
        if device.outgoing.is_worn_out(&device.interfaces.borrow()) {
            return Err(Failure::without_sockets("its sockets belong to network interfaces that are gone"));
        }
    }
}

/// Makes the socket of the local API; a dead one in its place is removed, a living one is an error.
fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let name = path.display();
    let failure = |error: std::io::Error| {
        Failure::new(
            exit::UNAVAILABLE,
            format!("the socket {name} cannot be made: {error}; name another with --socket."),
        )
    };
    socket_is_free(path)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(failure)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failure(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failure)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failure)?;
    Ok(listener)
}

/// Nobody listens at `path`, and nothing is there that is no socket and would be lost.
pub fn socket_is_free(path: &Path) -> Result<(), Failure> {
    let failure = |sentence| Err(Failure::new(exit::UNAVAILABLE, sentence));
    let name = path.display();
    if UnixStream::connect(path).is_ok() {
        return failure(format!("{name} is in use: another p2p-agent is running."));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            failure(format!("{name} is there and is not a socket; name another with --socket."))
        }
        _ => Ok(()),
    }
}

async fn look_for_fetchers(device: &Rc<Device>, id: PublicId, md5: ContentMd5) {
    let (_, found) = ask::round(device, &md5).await;
    let answers: Vec<_> = found.iter().map(|found| found.answered).collect();
    found.into_iter().for_each(|found| found.release(device));
    device.look_at_own(id, &md5);
    // A fetcher moves to nobody; it may yield, and its client learns that from its next report.
    let _ = device.agent.borrow_mut().handle_look(clock::now(), id, &answers);
}

/// Watches the files of contents that the local client takes from the internet: their growth keeps the lease.
async fn watch_fetches(device: Rc<Device>) {
    loop {
        let seen = device.due.generation();
        let fetching: heapless::Vec<_, { p2p_agent::limits::WANTS }> = {
            let agent = device.agent.borrow();
            let is_watched = |id| agent.want(id).is_some_and(p2p_agent::want::Want::is_watched);
            device.wanted.borrow().iter().filter(|(id, _)| is_watched(*id)).copied().collect()
        };
        if fetching.is_empty() {
            device.due.past(seen).await;
            continue;
        }
        for (id, md5) in fetching {
            device.look_at_own(id, &md5);
            let mut agent = device.agent.borrow_mut();
            // Another fetcher that was not heard: each device of a pair on two sides of a lossy link.
            if agent.poll_look(clock::now(), id) {
                let device = device.clone();
                device.executor.clone().spawn(async move { look_for_fetchers(&device, id, md5).await }).detach();
            }
        }
        Timer::after(FETCH_BEACON).await;
    }
}
