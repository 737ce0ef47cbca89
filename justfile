# What CI runs, exactly.
check:
    bash .ci/run

# The tests.
test:
    cargo test --workspace

# A fleet on this machine.
demo:
    cargo run --release -- demo

# Formatting and lints.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, bans and sources of dependencies (needs cargo-deny).
deny:
    cargo deny check
