//! Manifest files as kubectl reads them: YAML 1.1 or JSON, one or more documents.

mod documents;
mod yaml;

pub use documents::{Document, split};
pub use yaml::{json_to_yaml, yaml_to_json};
