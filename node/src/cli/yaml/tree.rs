//! From the parser's events to values, with every bound checked while the tree grows.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::scalar::{self, Plain};
use super::{ALIAS_BYTES_MAX, ALIAS_NODES_MAX, DEPTH_MAX, Mode, NODES_MAX, ParsedDocument, Place, YamlError};

/// Reads every document of `text`, handing each over as soon as it is complete.
pub(super) fn each_document(
    file: &str,
    text: &str,
    mode: Mode,
    take: &mut dyn FnMut(ParsedDocument),
) -> Result<(), YamlError> {
    let mut tree = Tree::new(file, mode);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError::Syntax {
            at: place(file, *error.marker()),
            detail: error.info().to_owned(),
        })?;
        if let Some(document) = tree.event(event, span)? {
            take(document);
        }
    }
    Ok(())
}

/// A finished node and what it weighs, for the accounts of aliases.
#[derive(Clone)]
struct Node {
    value: Value,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A mapping or sequence that is still open.
struct Open {
    at: Marker,
    anchor: usize,
    nodes: usize,
    bytes: usize,
    depth: usize,
    body: Body,
}

enum Body {
    Sequence(Vec<Value>),
    Mapping { map: Map<String, Value>, key: Option<Key>, merged: Option<Vec<Value>> },
}

enum Key {
    Named(String),
    Merge,
}

struct Tree<'a> {
    file: &'a str,
    mode: Mode,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    alias_nodes: usize,
    alias_bytes: usize,
    root: Option<(Value, usize)>,
}

impl<'a> Tree<'a> {
    fn new(file: &'a str, mode: Mode) -> Self {
        Self {
            file,
            mode,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            nodes: 0,
            alias_nodes: 0,
            alias_bytes: 0,
            root: None,
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<Option<ParsedDocument>, YamlError> {
        let at = span.start;
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.root = None;
            }
            Event::DocumentEnd => {
                let root = self.root.take().filter(|(value, _)| !value.is_null());
                return Ok(root.map(|(value, line)| ParsedDocument {
                    value,
                    file: self.file.to_owned(),
                    line,
                }));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), at)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", at)?;
                self.open(Body::Sequence(Vec::new()), anchor, at)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", at)?;
                let body = Body::Mapping { map: Map::new(), key: None, merged: None };
                self.open(body, anchor, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => self.alias(anchor, at)?,
        }
        Ok(None)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<(), YamlError> {
        self.count(at)?;
        if self.wants_key() {
            let key = self.key(text, style, tag, at)?;
            if anchor != 0 {
                let value = Value::from(text);
                self.remember(anchor, &Node { value, nodes: 1, bytes: text.len(), depth: 0 }, at)?;
            }
            return self.begin_entry(key, at);
        }
        let value = self.value(text, style, tag, at)?;
        self.finish(Node { value, nodes: 1, bytes: text.len(), depth: 0 }, anchor, at)
    }

    fn key(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Result<Key, YamlError> {
        let plain = style == ScalarStyle::Plain && tag.is_none();
        if plain && text == "<<" {
            return Ok(Key::Merge);
        }
        if self.mode == Mode::Lenient {
            return Ok(Key::Named(text.to_owned()));
        }
        let found = match self.value(text, style, tag, at)? {
            Value::String(key) => return Ok(Key::Named(key)),
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Array(_) | Value::Object(_) => "a collection",
        };
        Err(YamlError::KeyNotString { at: self.place(at), found, hint: format!("write {text:?}:") })
    }

    fn value(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<Value, YamlError> {
        let wanted = match tag {
            None if style != ScalarStyle::Plain => return Ok(Value::from(text)),
            None => None,
            Some(tag) => match core_tag(tag) {
                Some("str") => return Ok(Value::from(text)),
                Some(name @ ("int" | "float" | "bool" | "null")) => Some(name),
                Some(_) => return Err(self.tag_error(tag, "is not for scalars", at)),
                None => return Err(self.tag_error(tag, "is not known here", at)),
            },
        };
        let value = match scalar::resolve(text, self.mode) {
            Plain::Value(value) => value,
            Plain::Ambiguous(readings, or_else) => {
                return Err(YamlError::Ambiguous {
                    at: self.place(at),
                    text: text.to_owned(),
                    readings,
                    quoted: format!("\"{text}\""),
                    or_else,
                });
            }
            Plain::Unkept(why) => {
                return Err(YamlError::Number { at: self.place(at), text: text.to_owned(), why });
            }
        };
        let fits = match (wanted, &value) {
            (None, _) | (Some("null"), Value::Null) | (Some("bool"), Value::Bool(_)) => true,
            (Some("float"), Value::Number(_)) => true,
            (Some("int"), Value::Number(number)) => !number.is_f64(),
            _ => false,
        };
        match tag {
            Some(tag) if !fits => Err(self.tag_error(tag, "does not fit its value", at)),
            _ => Ok(value),
        }
    }

    fn open(&mut self, body: Body, anchor: usize, at: Marker) -> Result<(), YamlError> {
        self.count(at)?;
        if self.wants_key() {
            return Err(YamlError::KeyNotString {
                at: self.place(at),
                found: "a collection",
                hint: "write its text in quotes; did a {{template}} stay in the file?".to_owned(),
            });
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(self.too_much(at, "levels of nesting", DEPTH_MAX));
        }
        self.open.push(Open { at, anchor, nodes: 1, bytes: 0, depth: 0, body });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let open = self.open.pop().expect("the parser closes only what it opened");
        let value = match open.body {
            Body::Sequence(items) => Value::Array(items),
            Body::Mapping { mut map, merged, .. } => {
                for source in merged.into_iter().flatten() {
                    let Value::Object(source) = source else {
                        return Err(YamlError::Alias {
                            at: self.place(open.at),
                            why: "a merge key << takes a mapping or a list of mappings",
                        });
                    };
                    for (key, value) in source {
                        map.entry(key).or_insert(value);
                    }
                }
                Value::Object(map)
            }
        };
        let node = Node { value, nodes: open.nodes, bytes: open.bytes, depth: open.depth + 1 };
        self.finish(node, open.anchor, open.at)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), YamlError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(YamlError::Alias {
                at: self.place(at),
                why: "this alias stands inside of the node that it names; write the value out",
            });
        };
        let (nodes, bytes, depth) = (node.nodes, node.bytes, node.depth);
        self.charge(nodes, bytes, at)?;
        if self.open.len() + depth > DEPTH_MAX {
            return Err(self.too_much(at, "levels of nesting", DEPTH_MAX));
        }
        let node = self.anchors[&anchor].clone();
        if self.wants_key() {
            return match node.value {
                Value::String(key) => self.begin_entry(Key::Named(key), at),
                _ => Err(YamlError::KeyNotString {
                    at: self.place(at),
                    found: "an alias of something else",
                    hint: "write the key out".to_owned(),
                }),
            };
        }
        self.finish(node, 0, at)
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(&open.body, Body::Mapping { key: None, .. }))
    }

    fn begin_entry(&mut self, new: Key, at: Marker) -> Result<(), YamlError> {
        let place = self.place(at);
        let Some(Open { nodes, bytes, body: Body::Mapping { map, key, merged }, .. }) = self.open.last_mut()
        else {
            unreachable!("a key is wanted only in a mapping")
        };
        let (repeated, name) = match &new {
            Key::Named(name) => (map.contains_key(name), name.as_str()),
            Key::Merge => (merged.is_some(), "<<"),
        };
        if repeated {
            return Err(YamlError::DuplicateKey { at: place, key: name.to_owned() });
        }
        *nodes += 1;
        *bytes += name.len();
        *key = Some(new);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, at: Marker) -> Result<(), YamlError> {
        if anchor != 0 {
            self.remember(anchor, &node, at)?;
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some((node.value, at.line()));
            return Ok(());
        };
        parent.nodes += node.nodes;
        parent.bytes += node.bytes;
        parent.depth = parent.depth.max(node.depth);
        match &mut parent.body {
            Body::Sequence(items) => items.push(node.value),
            Body::Mapping { map, key, merged } => match key.take() {
                Some(Key::Named(name)) => {
                    map.insert(name, node.value);
                }
                Some(Key::Merge) => {
                    *merged = Some(match node.value {
                        Value::Array(sources) => sources,
                        other => vec![other],
                    });
                }
                None => unreachable!("collections as keys are refused when they open"),
            },
        }
        Ok(())
    }

    /// Keeps a copy for later aliases; the copy counts like an alias, so nested anchors stay cheap.
    fn remember(&mut self, anchor: usize, node: &Node, at: Marker) -> Result<(), YamlError> {
        self.charge(node.nodes, node.bytes, at)?;
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    fn charge(&mut self, nodes: usize, bytes: usize, at: Marker) -> Result<(), YamlError> {
        self.alias_nodes += nodes;
        self.alias_bytes += bytes;
        if self.alias_nodes > ALIAS_NODES_MAX {
            return Err(self.too_much(at, "nodes behind anchors and aliases", ALIAS_NODES_MAX));
        }
        if self.alias_bytes > ALIAS_BYTES_MAX {
            return Err(self.too_much(at, "bytes behind anchors and aliases", ALIAS_BYTES_MAX));
        }
        Ok(())
    }

    fn count(&mut self, at: Marker) -> Result<(), YamlError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.too_much(at, "nodes", NODES_MAX));
        }
        Ok(())
    }

    fn check_collection_tag(&self, tag: Option<&Tag>, own: &str, at: Marker) -> Result<(), YamlError> {
        match tag {
            None => Ok(()),
            Some(tag) => match core_tag(tag) {
                Some(name) if name == own => Ok(()),
                Some(_) => Err(self.tag_error(tag, "does not fit its value", at)),
                None => Err(self.tag_error(tag, "is not known here", at)),
            },
        }
    }

    fn tag_error(&self, tag: &Tag, why: &'static str, at: Marker) -> YamlError {
        let shown = match core_tag(tag) {
            Some(name) => format!("!!{name}"),
            None => tag.to_string(),
        };
        YamlError::Tag { at: self.place(at), tag: shown, why }
    }

    fn too_much(&self, at: Marker, what: &'static str, max: usize) -> YamlError {
        YamlError::TooMuch { at: self.place(at), what, max }
    }

    fn place(&self, at: Marker) -> Place {
        place(self.file, at)
    }
}

fn core_tag(tag: &Tag) -> Option<&str> {
    // The lone `!` says "do not interpret", which for a scalar is text.
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Some("str");
    }
    tag.is_yaml_core_schema().then_some(tag.suffix.as_str())
}

fn place(file: &str, at: Marker) -> Place {
    Place { file: file.into(), line: at.line().max(1), column: at.col() + 1 }
}
