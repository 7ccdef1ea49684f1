//! The parsers of options that are limits: the spelling of the value, then the contract's range of the limit.

use super::value;
use pinfold::{Limit, Requirement};

/// Parses a feature that may be required.
pub(crate) fn requirement_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Requirement::ALL.map(Requirement::name))
}

/// One parser an option: the spelling of the value, then the contract's range of the limit.
macro_rules! limit_parsers {
    ($( $option:ident: $spelling:path, $field:ident, $wrap:expr, $type:ty; )*) => {
        $( pub(crate) fn $option(text: &str) -> Result<Limit<$type>, String> {
            value::in_range($spelling(text)?, stringify!($field), |limits, limit| limits.$field = ($wrap)(limit))
        } )*
    };
}

limit_parsers! {
    wall: value::time, wall_ms, std::convert::identity, u64;
    cpu: value::time, cpu_ms, std::convert::identity, u64;
    memory: value::size, memory_bytes, std::convert::identity, u64;
    pids: value::count, pids, std::convert::identity, u64;
    cpus: value::cpus, cpus, std::convert::identity, f64;
    cpu_weight: value::count, cpu_weight, std::convert::identity, u64;
    swap: value::size, swap_bytes, std::convert::identity, u64;
    stack: value::size, stack_bytes, std::convert::identity, u64;
    io_read_bps: value::size, io_read_bps, std::convert::identity, u64;
    io_write_bps: value::size, io_write_bps, std::convert::identity, u64;
    io_read_iops: value::count, io_read_iops, std::convert::identity, u64;
    io_write_iops: value::count, io_write_iops, std::convert::identity, u64;
    output: value::size, output_bytes, std::convert::identity, u64;
    disk: value::size, workspace_bytes, Some, u64;
    inodes: value::count, workspace_inodes, Some, u64;
    tmp: value::size, tmp_bytes, Some, u64;
    shm: value::size, shm_bytes, std::convert::identity, u64;
    open_files: value::count, open_files, std::convert::identity, u64;
}
