use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, listen, socket};
use smol::future::block_on;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::interfaces::loopback;

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const SOON: Duration = Duration::from_millis(500);

fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

fn listener(port: u16) -> Async<TcpListener> {
    tcp::listen(tcp::make_listener().unwrap(), Mode::Loopback(B), port).unwrap()
}

fn sockets(count: usize) -> Rc<Outgoing> {
    Rc::new(Outgoing::new(Mode::Loopback(A), count).unwrap())
}

async fn connect(sockets: &Rc<Outgoing>, port: u16, timeout: Duration) -> io::Result<Connection> {
    sockets.connect(&loopback(A).unwrap(), SocketAddrV4::new(B, port), timeout, || false).await
}

#[test]
fn every_socket_says_link_only_lower_effort_and_bounded() {
    block_on(async {
        let port = free_port();
        let (listener, sockets) = (listener(port), sockets(1));
        // Also when it is used again.
        drop(connect(&sockets, port, SOON).await.unwrap());
        drop(listener.accept().await.unwrap());
        let client = connect(&sockets, port, SOON).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        tcp::prepare_accepted(server.get_ref()).unwrap();
        for stream in [client.stream.as_ref().unwrap(), &server] {
            let int = |level, name| options::get_int(stream, level, name).unwrap();
            use nix::libc::*;
            assert_eq!(int(IPPROTO_IP, IP_TTL), 255);
            assert_eq!(int(IPPROTO_IP, IP_MINTTL), 255);
            assert_eq!(int(IPPROTO_IP, IP_TOS), 4);
            assert_eq!(int(SOL_SOCKET, SO_PRIORITY), 2);
            assert_eq!(int(SOL_SOCKET, SO_DONTROUTE), 1);
            assert_eq!(int(IPPROTO_TCP, TCP_NODELAY), 1);
            for buffer in [SO_SNDBUF, SO_RCVBUF] {
                assert!(int(SOL_SOCKET, buffer) <= 2 * p2p_agent::limits::TCP_BUFFER_BYTES as i32);
            }
        }
    });
}

#[test]
fn a_closed_port_is_refused_at_once() {
    let start = Instant::now();
    let error = block_on(connect(&sockets(1), free_port(), SOON)).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(start.elapsed() < SOON / 2);
}

#[test]
fn a_neighbour_that_says_nothing_is_a_time_out() {
    block_on(async {
        // A listener for TTL 255 whose queue is full drops the SYN.
        let deaf = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
        let port = free_port();
        bind(deaf.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(B, port))).unwrap();
        listen(&deaf, Backlog::new(0).unwrap()).unwrap();
        let sockets = sockets(10);
        let mut held = Vec::new();
        let error = loop {
            match connect(&sockets, port, Duration::from_millis(100)).await {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 10);
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_socket_is_used_again_whatever_came_of_its_connection() {
    block_on(async {
        let (port, closed, sockets) = (free_port(), free_port(), sockets(1));
        let listener = listener(port);
        for round in 0..50_u8 {
            let mut client = connect(&sockets, port, SOON).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            match round % 5 {
                0 => drop(client),
                // What is under way is lost.
                1 => client.write_all(&vec![1; 100_000]).await.unwrap(),
                2 => {
                    server.write_all(&vec![round; 100_000]).await.unwrap();
                    let mut heard = vec![0; 50_000];
                    client.read_exact(&mut heard).await.unwrap();
                    assert!(heard.iter().all(|byte| *byte == round));
                }
                // The other side closes first.
                3 => {
                    drop(server);
                    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
                    drop(client);
                }
                _ => {
                    drop(client);
                    let refused = connect(&sockets, closed, SOON).await.map(drop).unwrap_err();
                    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
                    let nowhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port);
                    sockets.connect(&loopback(A).unwrap(), nowhere, SOON, || false).await.map(drop).unwrap_err();
                }
            }
            assert_eq!(sockets.free.borrow().len(), usize::from(matches!(round % 5, 0 | 3 | 4)));
        }
    });
}

#[test]
fn the_other_side_learns_of_the_end_and_keeps_what_it_was_told_before() {
    block_on(async {
        let (port, sockets) = (free_port(), sockets(1));
        let listener = listener(port);
        let mut client = connect(&sockets, port, SOON).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        let mut heard = [0; 8];
        server.read_exact(&mut heard).await.unwrap();
        drop(client);
        let end = server.read(&mut heard).await.unwrap_err();
        assert_eq!((&heard, end.kind()), (b"question", io::ErrorKind::ConnectionReset));
    });
}

#[test]
fn who_finds_none_free_gets_the_next_that_is_given_up_or_waits_no_longer_than_its_timeout() {
    block_on(async {
        let (port, sockets) = (free_port(), sockets(1));
        let _listener = listener(port);
        let kept = RefCell::new(Some(connect(&sockets, port, SOON).await.unwrap()));
        let late = connect(&sockets, port, SOON / 10).await.map(drop).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let lo = loopback(A).unwrap();
        let to = SocketAddrV4::new(B, port);
        let make_room = || {
            let one = kept.borrow_mut().take();
            one.is_some()
        };
        let second = sockets.connect(&lo, to, SOON, make_room).await.unwrap();
        let waiting = connect(&sockets, port, SOON);
        let give_up = async {
            Timer::after(SOON / 10).await;
            drop(second);
        };
        future::zip(waiting, give_up).await.0.unwrap();
    });
}

#[test]
fn a_socket_of_another_device_is_not_taken_and_one_of_a_device_that_is_gone_wears_them_out() {
    let sockets = sockets(3);
    let lo = loopback(A).unwrap();
    for (socket, device) in sockets.free.borrow_mut().iter_mut().zip([7, 8, 0]) {
        socket.device = device;
    }
    let mut taken: Vec<_> = [8, 8].iter().map(|device| sockets.take(*device).unwrap().device).collect();
    taken.push(sockets.free.borrow()[0].device);
    assert_eq!(taken, [8, 0, 7]);
    assert!(sockets.take(8).is_none());
    let seven = Interface { index: 7, ..lo.clone() };
    assert!(!sockets.is_worn_out(&[lo.clone(), seven]), "it may be given back");
    assert!(sockets.take(8).is_none() && sockets.is_worn_out(std::slice::from_ref(&lo)));
    assert!(!sockets.is_worn_out(&[lo]), "said once");
}
