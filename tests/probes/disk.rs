//! Takes space or descriptors, says how far it came, and then waits to be killed: `disk KIND PATH NUMBER`, where NUMBER is
//! in MiB for bytes. With a last argument `leave` it ends instead of waiting.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::time::Duration;

const MIB: usize = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = arguments.get(2).map_or("", String::as_str);
    let number: usize = arguments.get(3).and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut held = Vec::new();
    let answer = match arguments.get(1).map_or("", String::as_str) {
        "bytes" => write(path, number, &mut held),
        "sparse" => sparse(path, number),
        "unlinked" => File::create(path).and_then(|file| {
            fs::remove_file(path)?;
            held.push(file);
            pour(&mut held, number)
        }),
        // Small files, so that it is the number of inodes that counts.
        "inodes" => (0..number).try_for_each(|index| File::create(format!("{path}/{index}")).map(drop)),
        "unlinked-inodes" => (0..number).try_for_each(|index| {
            let name = format!("{path}/{index}");
            held.push(File::create(&name)?);
            fs::remove_file(name)
        }),
        // One file, whatever it is called.
        "links" => File::create(format!("{path}/0")).and_then(|_| {
            (1..=number).try_for_each(|index| fs::hard_link(format!("{path}/0"), format!("{path}/{index}")))
        }),
        "descriptors" => (0..number).try_for_each(|_| File::open(path).map(|file| held.push(file))),
        _ => Err(io::Error::other("unknown")),
    };
    match answer {
        Ok(()) => println!("all"),
        Err(error) => println!("errno {} after {}", error.raw_os_error().unwrap_or(-1), held.len()),
    }
    if arguments.last().is_none_or(|last| last != "leave") {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn write(path: &str, mib: usize, held: &mut Vec<File>) -> io::Result<()> {
    held.push(File::create(path)?);
    pour(held, mib)
}

fn pour(held: &mut [File], mib: usize) -> io::Result<()> {
    let chunk = vec![1u8; MIB];
    let Some(file) = held.last_mut() else { return Ok(()) };
    (0..mib).try_for_each(|_| file.write_all(&chunk))
}

/// So long, and next to nothing on disk.
fn sparse(path: &str, mib: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.seek(SeekFrom::Start((mib * MIB) as u64))?;
    file.write_all(b"x")
}
