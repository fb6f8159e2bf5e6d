//! Each mode, in front of a server that sends back what it gets.

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use super::*;

/// A server that echoes, until nobody can connect to it any more: its thread ends with the test process.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &socket, &mut &socket).ok());
        }
    });
    port
}

fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).unwrap()
}

fn say(mut socket: &TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).unwrap();
}

fn hear(mut socket: &TcpStream, length: usize) -> String {
    let mut buffer = vec![0; length];
    socket.read_exact(&mut buffer).unwrap();
    String::from_utf8(buffer).unwrap()
}

fn hears_nothing(mut socket: &TcpStream) {
    socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_read_timeout(None).unwrap();
}

fn is_reset(mut socket: &TcpStream) {
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn it_passes_all_bytes_and_an_end() {
    let proxy = Proxy::to(echo());
    let socket = connect(&proxy);
    let sent = "x".repeat(3_000_000);
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| {
            say(&socket, &sent);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut heard = String::new();
        (&socket).read_to_string(&mut heard).unwrap();
        heard
    });
    assert!(heard == sent);
    assert_eq!((proxy.bytes(), proxy.accepted()), (6_000_000, 1));
    wait_until("the proxy forgets the connection", || proxy.connections() == 0);
}

#[test]
fn it_refuses_and_comes_back_on_the_same_port() {
    let proxy = Proxy::to(echo());
    let socket = connect(&proxy);
    say(&socket, "a");
    assert_eq!(hear(&socket, 1), "a");
    for _ in 0..3 {
        proxy.set(Mode::Refuse);
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.set(Mode::Pass);
        let socket = connect(&proxy);
        say(&socket, "b");
        assert_eq!(hear(&socket, 1), "b");
    }
    is_reset(&socket);
}

#[test]
fn it_swallows_everything_and_lets_it_out_later() {
    let proxy = Proxy::to(echo());
    let old = connect(&proxy);
    say(&old, "a");
    assert_eq!(hear(&old, 1), "a");
    proxy.set(Mode::BlackHole);
    let (new, bytes) = (connect(&proxy), proxy.bytes());
    say(&old, "b");
    say(&new, "c");
    hears_nothing(&old);
    hears_nothing(&new);
    assert_eq!((proxy.bytes(), proxy.connections()), (bytes, 2));
    proxy.set(Mode::Pass);
    assert_eq!((hear(&old, 1), hear(&new, 1)), ("b".to_owned(), "c".to_owned()));
}

#[test]
fn it_cuts_once() {
    let proxy = Proxy::to(echo());
    let sockets = [connect(&proxy), connect(&proxy)];
    for socket in &sockets {
        say(socket, "a");
        assert_eq!(hear(socket, 1), "a");
    }
    proxy.set(Mode::BlackHole);
    proxy.set(Mode::Cut);
    sockets.iter().for_each(is_reset);
    assert_eq!(proxy.connections(), 0);
    let socket = connect(&proxy);
    say(&socket, "b");
    assert_eq!(hear(&socket, 1), "b");
}

#[test]
fn it_delays_each_way() {
    let proxy = Proxy::to(echo());
    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let (socket, start) = (connect(&proxy), Instant::now());
    say(&socket, "a");
    assert_eq!(hear(&socket, 1), "a");
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    // A piece on its way does not hold up what comes next.
    proxy.set(Mode::Delay(Duration::from_secs(3600)));
    say(&socket, "b");
    proxy.set(Mode::Pass);
    assert_eq!(hear(&socket, 1), "b");
}

#[test]
fn a_server_that_is_not_there_resets_the_client() {
    let proxy = Proxy::to(crate::port());
    is_reset(&connect(&proxy));
}

#[test]
fn no_thread_and_no_connection_is_left_behind() {
    for mode in [Mode::Pass, Mode::BlackHole, Mode::Refuse, Mode::Delay(Duration::from_secs(3600))] {
        let proxy = Proxy::to(echo());
        let socket = connect(&proxy);
        say(&socket, "a");
        assert_eq!(hear(&socket, 1), "a");
        proxy.set(mode);
        (&socket).write_all(&[0; 100]).ok();
        let network = Arc::downgrade(&proxy.network);
        drop(proxy);
        // Each thread of the proxy holds it.
        assert!(network.upgrade().is_none(), "{mode:?}");
        wait_until("the client is told", || !matches!((&socket).read(&mut [0; 100]), Ok(1..)));
    }
}
