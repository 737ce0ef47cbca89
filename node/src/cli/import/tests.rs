#![allow(clippy::unwrap_used)]

use super::*;

fn read(format: Format, options: &Options, text: &str) -> (Report, Vec<Value>) {
    let mut resources = Vec::new();
    let report =
        import("input", text.as_bytes(), format, options, &mut |resource| resources.push(resource)).unwrap();
    (report, resources)
}
