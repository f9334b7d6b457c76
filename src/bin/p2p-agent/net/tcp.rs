//! Connections between neighbours: TTL 255 both ways (RFC 5082's generalized TTL security mechanism), the interface's own
//! address, no routing, bounded buffers.
//!
//! The listener demands TTL 255 before it listens, so a SYN from elsewhere gets no answer and every accepted socket
//! inherits the demand. A connecting socket demands it only once it is connected: the reset of a closed port leaves
//! its sender with the ordinary TTL and would be dropped, and a refusal would look like silence.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use async_io::{Async, Timer};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect as start_connecting,
    listen as start_listening, setsockopt, socket, sockopt,
};
use smol::future;

use p2p_agent::limits::{QUERY_CONNECTIONS, TCP_BUFFER_BYTES};

use super::interfaces::Interface;
use super::{Mode, bind_error, options};

/// Opens the listener; an error says in one sentence what is in the way. Dropping it closes it at once.
pub fn listen(mode: Mode, port: u16) -> io::Result<Async<TcpListener>> {
    let address = mode.bind_address();
    open_listener(address, port).map_err(|error| bind_error(error, "TCP", address, port))
}

fn open_listener(address: Ipv4Addr, port: u16) -> io::Result<Async<TcpListener>> {
    let socket = open_socket()?;
    options::require_link_ttl(&socket)?;
    // Connections of an earlier run may still be closing; a port that is listened on stays an error.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    start_listening(&socket, Backlog::new(i32::try_from(QUERY_CONNECTIONS).unwrap_or(i32::MAX))?)?;
    Async::new_nonblocking(TcpListener::from(socket))
}

/// For every socket from the listener, at once: what accept(2) does not hand down.
pub fn prepare_accepted(stream: &TcpStream) -> io::Result<()> {
    options::lower_effort(&stream)?;
    stream.set_nodelay(true)
}

/// The interface of an accepted connection: the one that `local` is the address of, if `peer` is a neighbour there.
pub fn on_link(local: Ipv4Addr, peer: Ipv4Addr, interfaces: &[Interface]) -> Option<&Interface> {
    interfaces.iter().find(|interface| interface.addr == local).filter(|interface| interface.is_on_link(peer))
}

/// Connects to a neighbour. `ConnectionRefused` when its port is closed, `TimedOut` after `timeout`.
pub async fn connect(
    interface: &Interface,
    mode: Mode,
    to: Ipv4Addr,
    port: u16,
    timeout: Duration,
) -> io::Result<Async<TcpStream>> {
    let socket = open_socket()?;
    if mode == Mode::Links {
        bind_to_device(&socket, interface)?;
    }
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(interface.addr, 0)))?;
    match start_connecting(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, port))) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = Async::new_nonblocking(TcpStream::from(socket))?;
    let connected = async {
        stream.writable().await?;
        stream.get_ref().take_error()?.map_or(Ok(()), Err)
    };
    let late = async {
        Timer::after(timeout).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    future::or(connected, late).await?;
    options::require_link_ttl(&stream)?;
    stream.get_ref().set_nodelay(true)?;
    Ok(stream)
}

/// Keeps an upload below `bytes_per_second`, without help of a queueing discipline; `None` lifts the bound.
pub fn set_pacing(stream: &impl AsFd, bytes_per_second: Option<u32>) -> io::Result<()> {
    options::pacing(stream, bytes_per_second)
}

/// Both ends of a connection, parsed as the IPv4 addresses that they are.
pub fn addresses(stream: &TcpStream) -> io::Result<(SocketAddrV4, SocketAddrV4)> {
    match (stream.local_addr()?, stream.peer_addr()?) {
        (SocketAddr::V4(local), SocketAddr::V4(peer)) => Ok((local, peer)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What listener and connection have in common. Buffers before the handshake, because the window scale depends on them.
fn open_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    options::stay_on_link(&socket)?;
    options::buffers(&socket, TCP_BUFFER_BYTES)?;
    Ok(socket)
}

/// Where two interfaces have the same subnet, only this tells them apart. Kernels before 5.7 want privileges for it; there
/// the source address has to do.
fn bind_to_device(socket: &OwnedFd, interface: &Interface) -> io::Result<()> {
    match setsockopt(socket, sockopt::BindToDevice, &OsString::from(interface.name.as_str())) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
