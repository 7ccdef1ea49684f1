//! Writes so many bytes: `output stdout|stderr NUMBER [PATTERN]`; the pattern is repeated and cut off at the number.

use std::io::Write;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number: usize = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    let pattern = arguments.get(3).map_or("0123456789abcdef", String::as_str).as_bytes();
    let chunk = pattern.repeat(65536 / pattern.len() + 1);
    let usable = chunk.len() / pattern.len() * pattern.len();
    let mut stream: Box<dyn Write> = match arguments.get(1).map(String::as_str) {
        Some("stderr") => Box::new(std::io::stderr()),
        _ => Box::new(std::io::stdout()),
    };
    let mut left = number;
    while left > 0 {
        let length = left.min(usable);
        if stream.write_all(&chunk[..length]).is_err() {
            return;
        }
        left -= length;
    }
    let _nobody_reads = stream.flush();
}
