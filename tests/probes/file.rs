//! Does things to files, one for each argument `OPERATION PATH`, and prints one line for each: `ok` or the errno's number.

#![expect(unsafe_code, reason = "mknod(2) has no safe wrapper in the standard library")]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

fn main() {
    for argument in std::env::args().skip(1) {
        let (operation, path) = argument.split_once(' ').unwrap_or((&argument, ""));
        match perform(operation, path) {
            Ok(()) => println!("ok"),
            Err(error) => println!("{}", error.raw_os_error().unwrap_or(-1)),
        }
    }
}

fn perform(operation: &str, path: &str) -> io::Result<()> {
    match operation {
        "stat" => fs::symlink_metadata(path).map(drop),
        "list" => fs::read_dir(path).map(drop),
        "read" => File::open(path)?.read(&mut [0; 64]).map(drop),
        // Without O_CREAT and O_TRUNC: what is there must be there already, and stays as it is.
        "open-write" => OpenOptions::new().write(true).open(path).map(drop),
        "append" => OpenOptions::new().append(true).open(path)?.write_all(b"x"),
        "create" => OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(b"made"),
        "mkdir" => fs::create_dir(path),
        "remove" => fs::remove_file(path),
        "chmod" => fs::set_permissions(path, Permissions::from_mode(0o666)),
        "set-id" => fs::set_permissions(path, Permissions::from_mode(0o4755)),
        "create-set-id" => OpenOptions::new().write(true).create_new(true).mode(0o6755).open(path).map(drop),
        "execute" => std::process::Command::new(path).status().map(drop),
        "chdir" => std::env::set_current_dir(path),
        "mkfifo" => mknod(path, libc::S_IFIFO | 0o644, 0),
        "mkchar" => mknod(path, libc::S_IFCHR | 0o666, libc::makedev(1, 3)),
        "mkblock" => mknod(path, libc::S_IFBLK | 0o666, libc::makedev(7, 0)),
        "link" | "symlink" | "rename" => {
            let (from, to) = path.split_once(' ').unwrap_or((path, ""));
            match operation {
                "link" => fs::hard_link(from, to),
                "symlink" => std::os::unix::fs::symlink(from, to),
                _ => fs::rename(from, to),
            }
        }
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

fn mknod(path: &str, mode: u32, device: u64) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the kernel reads the string up to its NUL, and keeps nothing.
    let made = unsafe { libc::mknod(path.as_ptr(), mode, device) };
    if made == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
