//! A client that sends exactly what it is told, byte by byte, so that it can also send what no library would.

use super::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Either kind of connection.
pub(super) trait Stream: Read + Write + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A request to be.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: String,
    target: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Address {
    /// As the server tells it.
    pub(super) fn of(place: &str) -> Self {
        match place.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(place.strip_prefix("http://").unwrap().parse().unwrap()),
        }
    }

    /// What a client calls it.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    pub(super) fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        }
    }

    pub(super) fn send(&self, request: &Request) -> Response {
        let mut stream = self.connect();
        // It may be refused before all of it was sent.
        let _refused_early = stream.write_all(&request.bytes(&self.host()));
        Response::read(stream)
    }

    /// Begins what has no end: what comes, as it comes.
    pub(super) fn open(&self, request: &Request) -> BufReader<Box<dyn Stream>> {
        let mut stream = self.connect();
        stream.write_all(&request.without_pieces(&self.host())).unwrap();
        BufReader::new(stream)
    }

    /// Begins it at a Unix socket where a server may die at any moment: none where nobody answers with 200.
    pub(super) fn try_open(&self, request: &Request) -> Option<BufReader<UnixStream>> {
        let Self::Unix(path) = self else { panic!("a socket") };
        let mut stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request.without_pieces(&self.host())).ok()?;
        let mut stream = BufReader::new(stream);
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).ok().filter(|_| line.ends_with('\n'))?;
            head += &line;
        }
        head.starts_with("HTTP/1.0 200 ").then_some(stream).or_else(|| panic!("{head}"))
    }

    /// Asks there for something: the JSON that came, if all of it came.
    pub(super) fn try_send(&self, request: &Request) -> Option<Value> {
        let mut text = String::new();
        self.try_open(request)?.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Request {
    pub(super) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), host: None, headers: Vec::new(), body: None }
    }

    pub(super) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Instead of what was said before.
    pub(super) fn token(mut self, token: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Authorization");
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(super) fn without_token(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "Authorization");
        self
    }

    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub(super) fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub(super) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", kind)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Of HTTP/1.0, which knows no pieces.
    fn without_pieces(&self, host: &str) -> Vec<u8> {
        String::from_utf8(self.bytes(host)).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
    }

    pub(super) fn bytes(&self, host: &str) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(host);
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        if self.headers.iter().all(|(name, _)| name != "Connection") {
            head += "Connection: close\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

impl Response {
    pub(super) fn read(stream: impl Read) -> Self {
        let mut stream = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).map(|_| line.trim_end().to_owned())
        };
        let first = line().unwrap();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {first:?}"));
        let mut headers = Vec::new();
        while let Some((name, value)) = line().unwrap().split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut response = Self { status, headers, body: Vec::new() };
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = chunks(&mut stream);
        } else {
            let length = response.header("content-length").map_or(u64::MAX, |length| length.parse().unwrap());
            let _cut_off = stream.take(length).read_to_end(&mut response.body);
        }
        response
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// It must have this status.
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// It must be a problem of this status and code.
    pub(super) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{} {}", self.status, self.text());
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

/// A body that comes in pieces; what was cut off has no last one.
fn chunks(stream: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("cut off after {}", body.len()));
        stream.take(length).read_to_end(&mut body).unwrap();
        stream.read_line(&mut String::new()).unwrap();
        if length == 0 {
            return body;
        }
    }
}
