//! Connections to neighbours, over sockets that are made at the start and used again and again: in the jail none can be made
//! (`jail/calls`), so foreign code in the daemon has no socket but these, which stay on the link.
//!
//! What ends is dissolved: the other side gets a reset, and the socket is as new, with its options. No end of a connection is waited
//! for, so no port stays taken. What was sent and has not arrived is lost; whoever gives a connection up awaits no effect of that.
//!
//! A socket is bound to the device of its interface when it is first used. That holds for good, as only root could change it: where
//! two interfaces have the same subnet, or a tunnel has it too, nothing else tells them apart. For another interface another
//! socket is taken.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, bind, connect as start_connecting};
use smol::future;
use smol::io::{AsyncRead, AsyncWrite};

use p2p_agent::limits::CONNECTING_SOCKETS;

use super::interfaces::Interface;
use super::{Mode, options, tcp};
use crate::store::Signal;

/// The sockets that are free.
pub struct Outgoing {
    mode: Mode,
    free: RefCell<heapless::Vec<Socket, CONNECTING_SOCKETS>>,
    returned: Signal,
    /// None that is free was of use to somebody.
    short: Cell<bool>,
}

struct Socket {
    stream: TcpStream,
    /// Index of the interface; 0: none yet.
    device: u32,
}

impl Outgoing {
    /// Makes so many sockets, at most [`CONNECTING_SOCKETS`].
    pub fn new(mode: Mode, count: usize) -> io::Result<Self> {
        let mut free = heapless::Vec::new();
        for _ in 0..count.min(CONNECTING_SOCKETS) {
            let socket = tcp::make_socket()?;
            options::bind_to_address_alone(&socket)?;
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true)?;
            // Never more than there is room for.
            let _ = free.push(Socket { stream, device: 0 });
        }
        Ok(Self { mode, free: RefCell::new(free), returned: Signal::default(), short: Cell::default() })
    }

    /// Connects to a neighbour. `ConnectionRefused` when its port is closed, `TimedOut` after `timeout`. Where no socket is free,
    /// `make_room` gives one up that is not needed and says so, or one is waited for.
    pub async fn connect(
        self: &Rc<Self>,
        interface: &Interface,
        to: SocketAddrV4,
        timeout: Duration,
        make_room: impl Fn() -> bool,
    ) -> io::Result<Connection> {
        let connected = async {
            let socket = loop {
                let seen = self.returned.generation();
                match self.take(interface.index) {
                    Some(socket) => break socket,
                    None if make_room() => {}
                    None => self.returned.past(seen).await,
                }
            };
            self.connect_by(socket, interface, to).await
        };
        let late = async {
            Timer::after(timeout).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        future::or(connected, late).await
    }

    /// Somebody found none that is of use, because free ones belong to interfaces that are gone: time to be started again.
    pub fn is_worn_out(&self, in_use: &[Interface]) -> bool {
        let is_gone = |socket: &Socket| socket.device != 0 && !in_use.iter().any(|known| known.index == socket.device);
        self.short.replace(false) && self.free.borrow().iter().any(is_gone)
    }

    /// One that belongs to the interface already, so that the others stay free for any.
    fn take(&self, device: u32) -> Option<Socket> {
        let mut free = self.free.borrow_mut();
        let of = |device| free.iter().position(|socket| socket.device == device);
        let place = of(device).or_else(|| of(0));
        self.short.set(place.is_none());
        place.map(|place| free.swap_remove(place))
    }

    async fn connect_by(
        self: &Rc<Self>,
        mut socket: Socket,
        at: &Interface,
        to: SocketAddrV4,
    ) -> io::Result<Connection> {
        if let Err(error) = self.begin(&mut socket, at, to) {
            self.handle_return(socket);
            return Err(error);
        }
        let Socket { stream, device } = socket;
        let stream = Async::new_nonblocking(stream)?;
        let connection = Connection { stream: Some(stream), device, home: self.clone() };
        if let Some(stream) = &connection.stream {
            stream.writable().await?;
            stream.get_ref().take_error()?.map_or(Ok(()), Err)?;
            options::require_link_ttl(stream)?;
        }
        Ok(connection)
    }

    fn begin(&self, socket: &mut Socket, at: &Interface, to: SocketAddrV4) -> io::Result<()> {
        if self.mode == Mode::Links && socket.device == 0 {
            match options::bind_to_device(&socket.stream, at.index) {
                Ok(()) => socket.device = at.index,
                // Kernels before 5.7 want privileges for it; there the source address has to do.
                Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EPERM | nix::libc::ENOPROTOOPT)) => {}
                Err(error) => return Err(error),
            }
        }
        let fd = socket.stream.as_raw_fd();
        bind(fd, &SockaddrIn::from(SocketAddrV4::new(at.addr, 0)))?;
        match start_connecting(fd, &SockaddrIn::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn handle_return(&self, socket: Socket) {
        // The next neighbour's refusal has the ordinary TTL.
        let stream = &socket.stream;
        if options::disconnect(stream).and_then(|()| options::accept_any_ttl(stream)).is_ok() {
            // It came from there.
            let _ = self.free.borrow_mut().push(socket);
        }
        self.returned.notify();
    }
}

/// A connection to a neighbour. Dropping it dissolves it at once.
pub struct Connection {
    /// None only while it is being dropped.
    stream: Option<Async<TcpStream>>,
    device: u32,
    home: Rc<Outgoing>,
}

impl Connection {
    fn with<T>(&mut self, work: impl FnOnce(Pin<&mut Async<TcpStream>>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.stream {
            Some(stream) => work(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(Ok(stream)) = self.stream.take().map(Async::into_inner) {
            self.home.handle_return(Socket { stream, device: self.device });
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_read(context, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(context, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(context))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_close(context))
    }
}

#[cfg(test)]
mod tests;
