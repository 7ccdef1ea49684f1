//! A terminal over a WebSocket, as a page in a browser has it.

use super::client::Address;
use super::{ANN, BOB, PATIENCE, Server};
use serde_json::json;
use std::net::TcpStream;
use tungstenite::http::{Request, StatusCode};
use tungstenite::{Error, Message, WebSocket};

fn connect(server: &Server, token: &str, origin: Option<&str>) -> Result<WebSocket<TcpStream>, StatusCode> {
    let Address::Tcp(address) = &server.address else { panic!("an address") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _counted = server.operation("attach", &[], "");
    let mut request = Request::builder()
        .uri(format!("ws://{address}/v1/sandboxes/box/terminals/t/attach"))
        .header("Host", address.to_string())
        .header("Authorization", format!("Bearer {token}"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(origin) = origin {
        request = request.header("Origin", origin);
    }
    match tungstenite::client::client(request.body(()).unwrap(), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// Reads until this was shown.
fn until(socket: &mut WebSocket<TcpStream>, words: &str) -> String {
    let mut shown = String::new();
    while !shown.contains(words) {
        if let Message::Binary(bytes) = socket.read().unwrap_or_else(|error| panic!("{error}: {shown}")) {
            shown += &String::from_utf8_lossy(&bytes);
        }
    }
    shown
}

fn typed(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::Binary(text.as_bytes().to_vec().into())).unwrap();
}

#[test]
fn a_terminal_goes_to_and_fro_and_ends_with_its_shell() {
    let server = Server::start(&[]);
    server.sandbox("box");
    // Looking makes no terminal.
    assert_eq!(connect(&server, ANN, None).unwrap_err(), StatusCode::NOT_FOUND);
    let open = server.operation("openTerminal", &[("sandbox", "box"), ("terminal", "t")], "");
    server.send(&open.json(&json!({"shell": "sh"}))).expect(200);
    for (token, origin, status) in [
        (ANN, Some("http://evil.example"), StatusCode::FORBIDDEN),
        (ANN, Some("null"), StatusCode::FORBIDDEN),
        (BOB, None, StatusCode::NOT_FOUND),
        ("wrong", None, StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(connect(&server, token, origin).unwrap_err(), status);
    }
    let own = format!("http://{}", server.address.host());
    let mut socket = connect(&server, ANN, Some(&own)).unwrap();
    typed(&mut socket, "echo $((6 * 7))-here\n");
    until(&mut socket, "42-here");
    socket.send(Message::Text(r#"{"rows": 33, "columns": 101}"#.into())).unwrap();
    typed(&mut socket, "stty size\n");
    until(&mut socket, "33 101");
    // Another one sees what is on the screen, and both see what comes.
    let mut other = connect(&server, ANN, None).unwrap();
    until(&mut other, "42-here");
    typed(&mut socket, "echo to-$((1 + 1))-all\n");
    until(&mut socket, "to-2-all");
    until(&mut other, "to-2-all");
    other.send(Message::Text("no size".into())).unwrap();
    let policy = loop {
        if let Message::Close(frame) = other.read().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(policy.code), 1008);
    typed(&mut socket, "exit\n");
    let closed = loop {
        match socket.read() {
            Ok(Message::Close(frame)) => break frame.unwrap(),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (1000, "the shell has ended"));
    server.stop();
}

#[test]
fn a_message_that_is_too_long_ends_the_socket_and_not_the_terminal() {
    let server = Server::start(&[]);
    server.sandbox("box");
    let open = server.operation("openTerminal", &[("sandbox", "box"), ("terminal", "t")], "");
    server.send(&open.clone().json(&json!({"shell": "sh"}))).expect(200);
    let mut socket = connect(&server, ANN, None).unwrap();
    let _refused_early = socket.send(Message::Binary(vec![b'x'; 1 << 20].into()));
    while socket.read().is_ok() {}
    let mut socket = connect(&server, ANN, None).unwrap();
    typed(&mut socket, "echo still-$((1 + 1))\n");
    until(&mut socket, "still-2");
    server.stop();
}
