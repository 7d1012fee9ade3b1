//! The port of a proxy, which stays its own while nobody listens on it.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A free port of 127.0.0.1. A socket that never listens holds it: connections are refused, and
/// nobody else is given the port meanwhile.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    _held: TcpSocket,
}

impl Port {
    pub(super) fn reserve() -> Self {
        let held = bind((Ipv4Addr::LOCALHOST, 0).into());
        Self {
            address: held.local_addr().unwrap(),
            _held: held,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens until the listener is dropped; then connections are refused again.
    pub(super) fn listen(&self) -> TcpListener {
        bind(self.address).listen(1024).unwrap()
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Lets the listener share the port with the socket that holds it.
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
