//! Connections between neighbours: TTL 255 both ways (RFC 5082's generalized TTL security mechanism), the interface's own
//! address, no routing, bounded buffers.
//!
//! The listener demands TTL 255 before it listens, so a SYN from elsewhere gets no answer and every accepted socket
//! inherits the demand. A connecting socket demands it only once it is connected: the reset of a closed port leaves
//! its sender with the ordinary TTL and would be dropped, and a refusal would look like silence.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use async_io::Async;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen as start_listening, setsockopt, socket,
    sockopt,
};

use p2p_agent::limits::{QUERY_CONNECTIONS, TCP_BUFFER_BYTES};

use super::interfaces::Interface;
use super::{Mode, bind_error, options};

/// A socket to [`listen`] with, which has no address yet.
pub fn make_listener() -> io::Result<OwnedFd> {
    let socket = make_socket()?;
    options::require_link_ttl(&socket)?;
    // Connections of an earlier run may still be closing; a port that is listened on stays an error.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    Ok(socket)
}

/// Opens the listener; an error says in one sentence what is in the way. Dropping it closes it at once.
pub fn listen(socket: OwnedFd, mode: Mode, port: u16) -> io::Result<Async<TcpListener>> {
    let address = mode.bind_address();
    listen_at(socket, address, port).map_err(|error| bind_error(error, "TCP", address, port))
}

fn listen_at(socket: OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<Async<TcpListener>> {
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    start_listening(&socket, Backlog::new(i32::try_from(QUERY_CONNECTIONS).unwrap_or(i32::MAX))?)?;
    Async::new_nonblocking(TcpListener::from(socket))
}

/// For every socket from the listener, at once: what accept(2) does not hand down.
pub fn prepare_accepted(stream: &TcpStream) -> io::Result<()> {
    options::lower_effort(&stream)?;
    stream.set_nodelay(true)
}

/// For every accepted connection right before it is dropped. The last acknowledgement of a peer that closed first comes from its
/// kernel's TIME-WAIT, with the ordinary TTL. If it were not let in, this end would repeat its FIN for a minute or more, and meanwhile
/// a new connection from the same port would hang.
pub fn part(stream: &TcpStream) {
    // A socket that is broken already needs no farewell.
    let _ = options::accept_any_ttl(&stream);
}

/// The interface of an accepted connection: the one that `local` is the address of, if `peer` is a neighbour there.
pub fn on_link(local: Ipv4Addr, peer: Ipv4Addr, interfaces: &[Interface]) -> Option<&Interface> {
    interfaces.iter().find(|interface| interface.addr == local).filter(|interface| interface.is_on_link(peer))
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
pub(super) fn make_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    options::stay_on_link(&socket)?;
    options::buffers(&socket, TCP_BUFFER_BYTES)?;
    options::forget_soon(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::time::{Duration, Instant};

    use nix::sys::socket::connect;
    use smol::future::{self, block_on};
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::interfaces::loopback;
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

    fn open(mode: Mode, port: u16) -> io::Result<Async<TcpListener>> {
        listen(make_listener()?, mode, port)
    }

    fn free_port() -> u16 {
        TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
    }

    async fn connected(port: u16) -> (Async<TcpStream>, Async<TcpStream>) {
        let listener = open(Mode::Loopback(B), port).unwrap();
        let client = TcpStream::from(make_socket().unwrap());
        bind(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(A, 0))).unwrap();
        let _ = connect(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(B, port)));
        let client = Async::new_nonblocking(client).unwrap();
        client.writable().await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        prepare_accepted(server.get_ref()).unwrap();
        (client, server)
    }

    #[test]
    fn two_neighbours_exchange_bytes_from_their_own_addresses() {
        block_on(async {
            let port = free_port();
            let (mut client, mut server) = connected(port).await;
            let (local, peer) = addresses(server.get_ref()).unwrap();
            assert_eq!((*local.ip(), *peer.ip(), local.port()), (B, A, port));
            client.write_all(b"question").await.unwrap();
            client.get_ref().shutdown(Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"question");
        });
    }

    #[test]
    fn a_client_with_a_lesser_ttl_gets_no_connection() {
        let port = free_port();
        let listener = open(Mode::Loopback(B), port).unwrap();
        for (ttl, gets_in) in [(64, false), (254, false), (255, true)] {
            let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
            setsockopt(&client, sockopt::Ipv4Ttl, &ttl).unwrap();
            setsockopt(&client, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(0, 200_000)).unwrap();
            let result = connect(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(B, port)));
            assert_eq!(result.is_ok(), gets_in, "TTL {ttl}: {result:?}");
        }
        assert!(block_on(listener.accept()).is_ok());
    }

    #[test]
    fn a_port_in_use_is_one_clear_sentence_and_free_again_after_a_drop() {
        let port = free_port();
        let first = open(Mode::Loopback(B), port).unwrap();
        let error = open(Mode::Links, port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("TCP port {port}")), "{error}");
        drop(first);
        open(Mode::Links, port).unwrap();
    }

    #[test]
    fn a_paced_upload_stays_below_its_rate() {
        // The kernel lets the first ten segments pass; on loopback these are 64 KiB each.
        const BYTES: usize = 1_500_000;
        block_on(async {
            let (client, mut server) = connected(free_port()).await;
            set_pacing(&client, Some(2_000_000)).unwrap();
            let start = Instant::now();
            let send = async {
                let mut client = client;
                client.write_all(&vec![0; BYTES]).await.unwrap();
            };
            let receive = async {
                let mut heard = Vec::new();
                server.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard.len(), BYTES);
            };
            future::zip(send, receive).await;
            assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
        });
    }

    #[test]
    fn a_connection_belongs_to_the_interface_of_its_local_address_or_to_none() {
        let lo = [loopback(A).unwrap()];
        assert_eq!(on_link(A, B, &lo), Some(&lo[0]));
        assert_eq!(on_link(B, A, &lo), None, "not an address of an interface in use");
        assert_eq!(on_link(A, Ipv4Addr::new(192, 168, 0, 1), &lo), None, "not a neighbour");
    }
}
