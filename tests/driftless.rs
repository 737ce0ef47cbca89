//! The binary `driftless`, built with the tests: the same main function in the same library.

fn main() -> std::process::ExitCode {
    driftless::cli::main()
}
