//! The one binary, `driftless`: daemons, and the command line that talks to them.

fn main() -> std::process::ExitCode {
    driftless::cli::main()
}
