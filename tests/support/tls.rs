//! HTTPS in front of the little origin: one TLS handshake, one request, one response.
//!
//! `tls/server.key` is a key for tests on the loopback and for nothing else; the key of `tls/ca.pem` was thrown away.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The certificate authority that the server's certificate comes from.
pub fn ca() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls/ca.pem")
}

/// Serves `http` (an address) by HTTPS; returns the new address. It ends with the test program.
pub fn serve(http: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            thread::spawn(move || relay(StreamOwned::new(connection, stream), http));
        }
    });
    address
}

fn relay(stream: StreamOwned<ServerConnection, TcpStream>, http: SocketAddr) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if client.read_until(b'\n', &mut request)? == 0 {
            return Ok(());
        }
    }
    let mut origin = TcpStream::connect(http)?;
    origin.write_all(&request)?;
    let client = client.get_mut();
    std::io::copy(&mut origin, client)?;
    client.conn.send_close_notify();
    client.flush()
}
