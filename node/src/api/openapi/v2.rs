//! The OpenAPI version 2 document in protobuf, as far as kubectl 1.20 to 1.28 reads it.
//!
//! Those versions fetch it before `apply` and `create`, and accept a document without definitions
//! (validation is then ours alone). `diff` and `--dry-run=server` up to 1.26 look in it for the kinds
//! whose `PATCH` has the query parameter `dryRun`; that is all that stands here. Field numbers are those of
//! gnostic's `OpenAPIv2.proto`.

use super::super::GROUP;
use super::super::kinds::SERVED;

/// The encoded document.
pub(super) fn document() -> Vec<u8> {
    let mut paths = Vec::new();
    for served in SERVED.iter().filter(|served| served.writable) {
        let path = format!("/apis/{GROUP}/v1/namespaces/{{namespace}}/{}/{{name}}", served.plural);
        // Paths.path = 2: NamedPathItem { name = 1, value = 2: PathItem }.
        let item = [text(1, &path), message(2, &path_item(served.kind.name()))].concat();
        paths.extend(message(2, &item));
    }
    // Document { swagger = 1, info = 2, paths = 8 }.
    let info = [text(1, "Driftless"), text(2, "v1")].concat();
    [text(1, "2.0"), message(2, &info), message(8, &paths)].concat()
}

/// PathItem { patch = 8: Operation { parameters = 8, vendor_extension = 13 } }.
fn path_item(kind: &str) -> Vec<u8> {
    // ParametersItem.parameter = 1: Parameter.non_body_parameter = 2:
    // NonBodyParameter.query_parameter_sub_schema = 3: { in = 2, name = 4, type = 6 }.
    let query = [text(2, "query"), text(4, "dryRun"), text(6, "string")].concat();
    let parameter = message(8, &message(1, &message(2, &message(3, &query))));
    // NamedAny { name = 1, value = 2: Any { yaml = 2 } }.
    let yaml = format!("group: {GROUP}\nkind: {kind}\nversion: v1\n");
    let extension = [text(1, "x-kubernetes-group-version-kind"), message(2, &text(2, &yaml))].concat();
    let operation = [parameter, message(13, &extension)].concat();
    message(8, &operation)
}

fn text(field: u8, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}

/// A length-delimited field.
fn message(field: u8, content: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u8 = 2;
    let mut bytes = vec![field << 3 | LENGTH_DELIMITED];
    let mut rest = content.len();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_begins_as_swagger() {
        // The whole of what apply and create need.
        assert_eq!(document()[..5], [0x0a, 0x03, 0x32, 0x2e, 0x30]);
    }

    #[test]
    fn long_fields_have_lengths_in_two_bytes() {
        let field = message(1, &[7; 300]);
        assert_eq!(field[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(field.len(), 303);
    }
}
