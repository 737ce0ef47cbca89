//! The tree that layers are merged into.
//!
//! Leaves borrow from the resources and remember the layer that wrote them; nothing is cloned until the
//! result is printed. RFC 7396 for maps and scalars, element by element for keyed lists.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Failure;
use super::path::print_keys;
use super::walk::{Element, Step, Write, key_name, print};
use crate::schema::values::NULL;

/// A merged tree.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    root: Slot<'a>,
}

/// A place for a value; `None` after a removal.
type Slot<'a> = Option<Node<'a>>;

#[derive(Debug)]
enum Node<'a> {
    Map(BTreeMap<&'a str, Slot<'a>>),
    Keyed(Keyed<'a>),
    Leaf { value: &'a Value, layer: usize },
}

/// A keyed list: elements keep the place of their first appearance, removed ones too.
#[derive(Debug, Default)]
struct Keyed<'a> {
    elements: Vec<Place<'a>>,
    places: BTreeMap<Cow<'a, str>, usize>,
}

/// The place of an element, and the layer that it first appeared in.
#[derive(Debug)]
struct Place<'a> {
    element: Element<'a>,
    layer: usize,
    slot: Slot<'a>,
}

/// Turns a leaf and the layer that wrote it into the value that is printed; the path is for messages.
pub(super) trait Render {
    /// Renders one scalar or string inside a list.
    fn scalar(&mut self, value: &Value, layer: usize, path: &[&str]) -> Result<Value, Failure>;
}

impl<'a> Tree<'a> {
    /// Applies one write of a layer; fails where a map would silently become something else, or back.
    pub(super) fn apply(&mut self, path: &[Step<'a>], write: Write<'a>, layer: usize) -> Result<(), Failure> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut slot = &mut self.root;
        for (depth, step) in parents.iter().enumerate() {
            slot = slot_below(slot, step, layer).map_err(|clash| clash.at(print(&path[..depth])))?;
        }
        if let (Write::Delete, Step::Element(element)) = (write, last) {
            // What is removed without having been there takes no place.
            let list = keyed(slot).map_err(|clash| clash.at(print(parents)))?;
            if let Some(place) = list.places.get(&element.name) {
                list.elements[*place].slot = None;
            }
            return Ok(());
        }
        let slot = slot_below(slot, last, layer).map_err(|clash| clash.at(print(parents)))?;
        write_slot(slot, write, layer).map_err(|clash| clash.at(print(path)))
    }

    /// Prints the tree; the root is a map even if nothing was written.
    pub(super) fn render(&self, render: &mut impl Render) -> Result<Value, Failure> {
        match &self.root {
            Some(node) => render_node(node, &mut Vec::new(), render),
            None => Ok(Value::Object(Map::new())),
        }
    }

    /// Prints what is at a path, which names elements by their key as written; `None` if nothing is there.
    pub(super) fn render_at<'t>(
        &'t self,
        keys: &'t [String],
        render: &mut impl Render,
    ) -> Result<Option<Value>, Failure> {
        let (mut slot, mut element) = (self.root.as_ref(), None);
        let mut path: Vec<&str> = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(Place { element, layer, .. }) =
                element.filter(|place: &&Place<'_>| place.element.key_field == key)
            {
                return render.scalar(element.key, *layer, &path).map(Some);
            }
            (slot, element) = match slot {
                Some(Node::Map(map)) => (map.get(key.as_str()).and_then(Option::as_ref), None),
                Some(Node::Keyed(list)) => {
                    let place = list.places.get(key.as_str()).map(|place| &list.elements[*place]);
                    (place.and_then(|place| place.slot.as_ref()), place)
                }
                Some(Node::Leaf { .. }) | None => return Ok(None),
            };
            path.push(key);
        }
        match (slot, element) {
            (_, Some(place)) => place.render(&mut path, render),
            (Some(node), None) => render_node(node, &mut path, render).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn slot_below<'t, 'a>(
    slot: &'t mut Slot<'a>,
    step: &Step<'a>,
    layer: usize,
) -> Result<&'t mut Slot<'a>, Failure> {
    match step {
        Step::Key(key) => {
            let node = slot.get_or_insert_with(|| Node::Map(BTreeMap::new()));
            match node {
                Node::Map(map) => Ok(map.entry(key).or_default()),
                Node::Keyed(_) => Err(clash("a list", "a map")),
                Node::Leaf { value, .. } => Err(clash(noun(value), "a map")),
            }
        }
        Step::Element(element) => keyed(slot).map(|list| list.place(element, layer)),
    }
}

/// The list at a place, which replaces what is no map.
fn keyed<'t, 'a>(slot: &'t mut Slot<'a>) -> Result<&'t mut Keyed<'a>, Failure> {
    if let None | Some(Node::Leaf { .. }) = slot {
        *slot = Some(Node::Keyed(Keyed::default()));
    }
    match slot {
        Some(Node::Keyed(list)) => Ok(list),
        _ => Err(clash("a map", "a list")),
    }
}

fn write_slot<'a>(slot: &mut Slot<'a>, write: Write<'a>, layer: usize) -> Result<(), Failure> {
    match (write, slot.as_ref()) {
        (Write::Delete | Write::Replace(_), _) => *slot = None,
        (Write::Set(value), Some(Node::Map(_))) => return Err(clash("a map", noun(value))),
        (Write::Set(value), _) => *slot = Some(Node::Leaf { value, layer }),
        (Write::EmptyMap, Some(Node::Map(_))) | (Write::EmptyList, Some(Node::Keyed(_))) => {}
        (Write::EmptyMap, None) => *slot = Some(Node::Map(BTreeMap::new())),
        (Write::EmptyMap, Some(Node::Keyed(_))) => return Err(clash("a list", "a map")),
        (Write::EmptyMap, Some(Node::Leaf { value, .. })) => return Err(clash(noun(value), "a map")),
        (Write::EmptyList, Some(Node::Map(_))) => return Err(clash("a map", "a list")),
        (Write::EmptyList, None | Some(Node::Leaf { .. })) => *slot = Some(Node::Keyed(Keyed::default())),
    }
    Ok(())
}

impl<'a> Keyed<'a> {
    fn place(&mut self, element: &Element<'a>, layer: usize) -> &mut Slot<'a> {
        let place = *self.places.entry(element.name.clone()).or_insert_with(|| {
            self.elements.push(Place { element: element.clone(), layer, slot: None });
            self.elements.len() - 1
        });
        &mut self.elements[place].slot
    }

    fn render<'t>(&'t self, path: &mut Vec<&'t str>, render: &mut impl Render) -> Result<Value, Failure> {
        let mut out = Vec::new();
        let mut seen = BTreeSet::new();
        for place in &self.elements {
            path.push(&place.element.name);
            let item = place.render(path, render)?;
            path.pop();
            let Some(item) = item else { continue };
            // A variable may make two keys one, or something that is no key.
            let (field, key) = (place.element.key_field, &item[place.element.key_field]);
            if !key_name(key).is_some_and(|name| seen.insert(name.into_owned())) {
                let message = format!("{key} is no key {field:?}, or the key of another element");
                return Err(Failure::new("KeyedList", message).at(print_keys(path.iter().copied())));
            }
            out.push(item);
        }
        Ok(Value::Array(out))
    }
}

impl Place<'_> {
    /// Prints the element with its key, unless it was removed.
    fn render<'t>(
        &'t self,
        path: &mut Vec<&'t str>,
        render: &mut impl Render,
    ) -> Result<Option<Value>, Failure> {
        let Some(node) = &self.slot else { return Ok(None) };
        let mut item = render_node(node, path, render)?;
        if let Value::Object(map) = &mut item {
            let key = render.scalar(self.element.key, self.layer, path)?;
            map.insert(self.element.key_field.to_owned(), key);
        }
        Ok(Some(item))
    }
}

fn render_node<'t>(
    node: &'t Node<'_>,
    path: &mut Vec<&'t str>,
    render: &mut impl Render,
) -> Result<Value, Failure> {
    match node {
        Node::Leaf { value, layer } => literal(value, *layer, path, render),
        Node::Map(map) => {
            let mut out = Map::new();
            for (key, slot) in map {
                if let Some(child) = slot {
                    path.push(key);
                    out.insert((*key).to_owned(), render_node(child, path, render)?);
                    path.pop();
                }
            }
            Ok(Value::Object(out))
        }
        Node::Keyed(list) => list.render(path, render),
    }
}

/// Prints a leaf: `{$null: true}` becomes null, and strings are rendered.
fn literal(value: &Value, layer: usize, path: &[&str], render: &mut impl Render) -> Result<Value, Failure> {
    match value {
        Value::Object(map) if map.contains_key(NULL) => Ok(Value::Null),
        Value::Object(map) => {
            let entries =
                map.iter().map(|(key, item)| Ok((key.clone(), literal(item, layer, path, render)?)));
            entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| literal(item, layer, path, render));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        scalar => render.scalar(scalar, layer, path),
    }
}

fn clash(below: &str, above: &str) -> Failure {
    Failure::new(
        "TypeChange",
        format!(
            "a lower layer holds {below}, this one writes {above}; write {{$replace: …}} if that is meant"
        ),
    )
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Object(_) | Value::Null => "a null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
    }
}
