//! Limits on block devices: `io.max` of v2, `blkio.throttle.*` of v1. One table says both.

use super::file;
use crate::failure::StepError;
use pinfold_runner::{Limit, Limits};
use std::ffi::CStr;
use std::fs;
use std::os::fd::BorrowedFd;

/// One limit: v2's word, v1's file, and where it is in a job.
type Entry = (&'static str, &'static CStr, fn(&Limits) -> Limit<u64>);

const TABLE: [Entry; 4] = [
    ("rbps", c"blkio.throttle.read_bps_device", |limits| limits.io_read_bps),
    ("wbps", c"blkio.throttle.write_bps_device", |limits| limits.io_write_bps),
    ("riops", c"blkio.throttle.read_iops_device", |limits| limits.io_read_iops),
    ("wiops", c"blkio.throttle.write_iops_device", |limits| limits.io_write_iops),
];

/// The limits that a job sets.
fn asked(limits: &Limits) -> impl Iterator<Item = (&'static str, &'static CStr, u64)> {
    TABLE.into_iter().filter_map(|(word, name, get)| Some((word, name, get(limits).value()?)))
}

/// Whether a job limits writing.
pub(crate) fn limits_writing(limits: &Limits) -> bool {
    asked(limits).any(|(word, ..)| word.starts_with('w'))
}

/// Whether a job sets any.
pub(crate) fn is_asked(limits: &Limits) -> bool {
    asked(limits).next().is_some()
}

pub(super) fn set_v1(dir: BorrowedFd<'_>, limits: &Limits, disks: &[String]) -> Result<(), StepError> {
    asked(limits).try_for_each(|(_, name, value)| {
        disks.iter().try_for_each(|disk| file::limit(dir, name, &format!("{disk} {value}")))
    })
}

pub(super) fn set_v2(dir: BorrowedFd<'_>, limits: &Limits, disks: &[String]) -> Result<(), StepError> {
    let words: Vec<_> = asked(limits).map(|(word, _, value)| format!("{word}={value}")).collect();
    disks.iter().try_for_each(|disk| file::limit(dir, c"io.max", &format!("{disk} {}", words.join(" "))))
}

/// Lifts all of a group's limits, as far as it has any.
pub(super) fn release(path: &str) {
    let lift = |name: &str, nothing: &str| {
        let file = format!("{path}/{name}");
        for line in fs::read_to_string(&file).unwrap_or_default().lines() {
            let disk = line.split(' ').next().unwrap_or_default();
            let _best_effort = fs::write(&file, format!("{disk} {nothing}"));
        }
    };
    lift("io.max", "rbps=max wbps=max riops=max wiops=max");
    TABLE.iter().for_each(|(_, name, _)| lift(&name.to_string_lossy(), "0"));
}
