//! Links `pinfold` to a fixed address where it is linked statically against glibc.
//!
//! Before a position-independent program does anything, its addresses are put right, all of them, and each page that has
//! one is copied: some 20,000 and 100 pages for this program, half a millisecond of each `pinfold exec`. The price is that
//! its own code and constants lie where they lie; stack, heap and mappings are still at random. The other programs, which
//! live long or read what strangers send, are position-independent.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_static =
        var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.split(',').any(|one| one == "crt-static"));
    if is_static && var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        // After rustc's own `-static-pie`, of which the first takes back both words.
        println!("cargo::rustc-link-arg-bin=pinfold=-no-pie");
        println!("cargo::rustc-link-arg-bin=pinfold=-static");
    }
}
