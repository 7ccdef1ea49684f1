//! The program `pinfold-keeper`, which keeps one sandbox that `pinfold start` started. All of it is in the library.

fn main() -> std::process::ExitCode {
    pinfold::keeper::main()
}
