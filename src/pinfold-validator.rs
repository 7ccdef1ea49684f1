//! The program `pinfold-validator`, which parses code that nobody trusts for whoever runs it. All of it is in the library.

fn main() -> std::process::ExitCode {
    pinfold::code::validator_main()
}
