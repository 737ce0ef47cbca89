//! The command line's text in and out.
//!
//! What is here turns bytes into values and values into text: manifests, tables, JSONPath, and files that
//! other systems wrote. It knows no server and opens no socket. Files are read where a function's name says
//! so ([`yaml::read_inputs`], [`import::open`]); everything else takes bytes and returns values, so a wrong
//! comma in a manifest is tested without a node.

pub mod import;
pub mod jsonpath;
pub mod output;
pub mod table;
pub mod values;
pub mod yaml;
