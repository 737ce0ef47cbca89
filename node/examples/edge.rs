//! A program that is an edge: it joins a running hub and prints its configuration whenever it changes.
//!
//! At a hub: `driftless token create --role edge --site store-17 > store-17.token`. Then here:
//! `cargo run --example edge -- /var/tmp/store-17 store-17.token`. The token is needed once; started again,
//! with or without a hub in reach, it goes on with what it had.
#![allow(clippy::print_stdout, reason = "the example shows what it does")]

use std::process::ExitCode;

use driftless::edge::{Edge, EdgeError};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(data_dir) = arguments.first() else {
        eprintln!("usage: edge DATA_DIR [TOKEN_FILE [HUB_ADDRESS...]]");
        return ExitCode::from(2);
    };
    match run(data_dir, arguments.get(1), arguments.get(2..).unwrap_or_default()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(data_dir: &str, token: Option<&String>, hubs: &[String]) -> Result<(), EdgeError> {
    let mut builder = Edge::builder().data_dir(data_dir).hubs(hubs);
    if let Some(token) = token {
        builder = builder.token_file(token);
    }
    let edge = builder.start().await?;
    println!("node {} of site {}", edge.place().node, edge.place().site);
    let mut config = edge.config();
    loop {
        if let Some(config) = &*config.borrow_and_update() {
            println!("{} {}", config["configHash"], config["values"]);
        }
        tokio::select! {
            changed = config.changed() => if changed.is_err() { break },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    edge.stop().await
}
