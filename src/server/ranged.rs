//! A file as an answer: all of it, or the one range that was asked for. A file is opened once and read piece by piece, so
//! that its size takes no memory, and what takes its place meanwhile is not mixed in.

use super::bounded::STALL;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;

/// As much is read at once.
const PIECE: u64 = 128 << 10;

/// The bytes of a file of this size, without a type. What is kept is kept until all of them are sent. A range of another
/// version of the file, as `If-Range` names it by its tag, is not asked for: RFC 9110, 13.1.5.
pub(super) fn respond(
    (file, size): (File, u64),
    headers: &HeaderMap,
    tag: Option<&HeaderValue>,
    kept: impl Send + 'static,
) -> Response {
    let is_of_this = headers.get(header::IF_RANGE).is_none_or(|wanted| Some(wanted) == tag);
    let asked = range(headers, size).filter(|_| is_of_this);
    let Ok((start, end)) = asked.unwrap_or(Ok((0, size))) else {
        let unsatisfied = format!("bytes */{size}").parse().unwrap_or(HeaderValue::from_static("bytes */0"));
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, unsatisfied)]).into_response();
    };
    let (pieces, stream) = tokio::sync::mpsc::channel(1);
    let file = Arc::new(file);
    tokio::spawn(async move {
        let mut at = start;
        while at < end {
            let (file, length) = (file.clone(), PIECE.min(end - at));
            let read = tokio::task::spawn_blocking(move || piece(&file, at, length)).await;
            let piece = read.unwrap_or_else(|error| Err(io::Error::other(error)));
            let is_last = piece.is_err();
            at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            let sent = tokio::time::timeout(STALL, pieces.send(piece)).await;
            if is_last || !matches!(sent, Ok(Ok(()))) {
                break;
            }
        }
        drop(kept);
    });
    let mut response = Body::from_stream(ReceiverStream::new(stream)).into_response();
    if let Some(Ok(_)) = asked {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(told) = format!("bytes {start}-{}/{size}", end - 1).parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, told);
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// The same as a download, which no browser shows or runs, whatever it is.
pub(super) fn attached(mut response: Response) -> Response {
    if response.status().is_success() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    response
}

/// Some bytes of a file; an error where it has become shorter than it was.
fn piece(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer.into())
}

/// The one range that is asked for, from where to where; an error if there is none such. What is not understood is as good as
/// not asked: RFC 9110, 14.2.
fn range(headers: &HeaderMap, size: u64) -> Option<Result<(u64, u64), ()>> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if first.trim().is_empty() {
        let length = number(last)?;
        return Some(if length == 0 || size == 0 { Err(()) } else { Ok((size - length.min(size), size)) });
    }
    let start = number(first)?;
    let end = if last.trim().is_empty() { size } else { number(last)?.saturating_add(1).min(size) };
    match number(last) {
        Some(last) if last < start => None,
        _ if start >= size => Some(Err(())),
        _ => Some(Ok((start, end))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_the_file_or_none() {
        let asked = |text: &str, size| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            range(&headers, size)
        };
        for (text, expected) in [
            ("bytes=0-0", Some(Ok((0, 1)))),
            ("bytes=2-", Some(Ok((2, 10)))),
            ("bytes=8-99999999999999999999", None),
            ("bytes=8-18446744073709551615", Some(Ok((8, 10)))),
            ("bytes=-3", Some(Ok((7, 10)))),
            ("bytes=-99", Some(Ok((0, 10)))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(asked(text, 10), expected, "{text}");
        }
        assert_eq!(asked("bytes=0-", 0), Some(Err(())));
    }
}
