//! `AdmissionReview` of `admission.k8s.io/v1` and `v1beta1`: read from the request's bytes, written as JSON text.
//!
//! Not kube's types: they write the patch as a list of numbers, which only the API server accepts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use azwi_json::{JsonText, JsonValue, Shape, push_member};
use azwi_mutation::{AdmissionRequest, MOST_REQUEST_VALUES, Mutation, Patch, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

/// Supported versions; the answer has the version of the request.
const API_VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// Maximum length of a request id in bytes. An API server's has 36; the answer repeats it, with up to six bytes for
/// each.
const LONGEST_UID: usize = 128;

#[derive(Debug)]
pub struct Review<'a> {
    /// Version of the review.
    pub api_version: Cow<'a, str>,
    pub request: AdmissionRequest<'a>,
}

/// The parts of a review to index.
static SHAPE: Shape = Shape::Object(&[("apiVersion", &Shape::Leaf), ("request", AdmissionRequest::SHAPE)]);

/// Indexes a review's text.
///
/// # Errors
/// The text is not JSON, or exceeds a bound.
pub fn index(text: &str) -> Result<JsonText<'_>, String> {
    JsonText::parse_shaped(text, &SHAPE, MOST_REQUEST_VALUES)
}

impl<'a> Review<'a> {
    /// Reads a review.
    ///
    /// # Errors
    /// One sentence that describes the problem.
    pub fn read(review: JsonValue<'a>) -> Result<Self, String> {
        let api_version = review.get("apiVersion").map(JsonValue::short_text).transpose();
        let api_version = api_version.map_err(|error| error.sentence("admission review", review))?;
        let api_version = api_version.unwrap_or(Cow::Borrowed(API_VERSIONS[0]));
        if !API_VERSIONS.contains(&&*api_version) {
            let shown = azwi_json::printable(&api_version, 100);
            return Err(format!(
                "apiVersion {shown} is not understood; it must be {}",
                API_VERSIONS.join(" or ")
            ));
        }
        let request = review.get("request").ok_or("the admission review has no request")?;
        let request = AdmissionRequest::read(request)?;
        if request.uid.is_empty() {
            return Err("the admission request has no uid".to_owned());
        }
        if request.uid.len() > LONGEST_UID {
            return Err(format!("the admission request's uid must be at most {LONGEST_UID} bytes long"));
        }
        Ok(Self { api_version, request })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    kind: &'static str,
    api_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status<'a> {
    message: &'a str,
    code: u16,
}

pub fn write_answer(api_version: &str, uid: &str, answer: &Verdict) -> Result<String, serde_json::Error> {
    let response = match answer {
        Ok(mutation) => Response {
            uid,
            allowed: true,
            status: None,
            audit_annotations: mutation.audit.iter().map(|(key, value)| (*key, value.as_str())).collect(),
            warnings: mutation.warnings.iter().map(ToString::to_string).collect(),
        },
        Err(denial) => Response {
            uid,
            allowed: false,
            status: Some(Status { message: &denial.message, code: denial.code }),
            audit_annotations: BTreeMap::new(),
            warnings: Vec::new(),
        },
    };
    // Allocated at once: a buffer that grows by doubling would take twice the memory that `answer_size` promised.
    let mut text = String::with_capacity(answer_size(answer));
    text.push_str(&serde_json::to_string(&Envelope { kind: "AdmissionReview", api_version })?);
    let response = serde_json::to_string(&response)?;
    push_member(&mut text, "response", |text| {
        text.push_str(&response);
        if let Ok(Mutation { patch, .. }) = answer
            && !patch.is_empty()
        {
            push_member(text, "patchType", |text| text.push_str("\"JSONPatch\""));
            push_member(text, "patch", |text| encode(patch, text));
        }
    });
    Ok(text)
}

/// Maximum size of an answer in bytes, known before it is written.
pub fn answer_size(answer: &Verdict) -> usize {
    /// Everything around message, warnings and patch, including the uid.
    const FRAME: usize = 1024 + 6 * LONGEST_UID;
    /// A sentence as JSON: truncated, and without control characters to escape.
    const SENTENCE: usize = 1024;
    FRAME
        + match answer {
            Ok(mutation) => encoded_length(&mutation.patch) + SENTENCE * mutation.warnings.len(),
            Err(denial) => 2 * denial.message.len(),
        }
}

fn encoded_length(patch: &Patch) -> usize {
    patch.json_length().div_ceil(3) * 4
}

/// Appends the patch as a JSON string in base64, which needs no escaping; `serde_json` would check every byte.
fn encode(patch: &Patch, text: &mut String) {
    // The patch is encoded in pieces of this length, so that it is never in memory twice as a whole. A multiple of
    // three, which base64 does not pad.
    const PIECE: usize = 12 * 1024;
    text.push('"');
    let mut piece = Vec::with_capacity(patch.json_length().min(2 * PIECE));
    patch.write_json(|json| {
        piece.extend_from_slice(json.as_bytes());
        while let Some((whole, _)) = piece.split_at_checked(PIECE) {
            BASE64_STANDARD.encode_string(whole, text);
            piece.drain(..PIECE);
        }
    });
    BASE64_STANDARD.encode_string(&piece, text);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use azwi_json::JsonText;
    use azwi_mutation::Denial;

    use super::{Review, write_answer};

    fn problem(review: &str) -> String {
        Review::read(JsonText::parse(review).unwrap().root()).unwrap_err()
    }

    #[test]
    fn reviews_of_both_versions_are_read() {
        for version in ["v1", "v1beta1"] {
            let text = format!(r#"{{"apiVersion":"admission.k8s.io/{version}","request":{{"uid":"u"}}}}"#);
            let json = JsonText::parse(&text).unwrap();
            let review = Review::read(json.root()).unwrap();
            assert_eq!((&*review.request.uid, review.api_version.ends_with(version)), ("u", true));
        }
    }

    #[test]
    fn what_is_wrong_with_a_review_is_said() {
        assert!(problem(r#"{"apiVersion":"v2"}"#).contains("apiVersion v2 is not understood"));
        assert!(problem("{}").contains("has no request"));
        assert!(problem(r#"{"request":{}}"#).contains("has no uid"));
        assert!(problem(r#"{"request":{"uid":5}}"#).contains("uid must be a string"));
    }

    #[test]
    fn a_denial_has_a_status() {
        let answer = write_answer("admission.k8s.io/v1", "u", &Err(Denial::invalid("no")));
        let expected = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":false,"status":{"message":"no","code":400}}}"#;
        assert_eq!(answer.unwrap(), expected);
    }
}
