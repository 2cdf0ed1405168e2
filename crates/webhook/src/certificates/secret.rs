//! The Secret at the API server. Its content never appears in logs or errors: the client's own error text is not used,
//! because it repeats an answer that cannot be parsed.

use azwi_json::printable;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{GetParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource as _};

use super::bundle::FIELD_MANAGER;

/// How much of an API server's message is shown.
const LONGEST_PROBLEM: usize = 300;
/// No word is that long, but a line of a key is.
const LONGEST_WORD: usize = 40;

pub(super) struct SecretStore {
    client: Client,
    requests: Request,
    name: String,
}

impl SecretStore {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let requests = Request::new(Secret::url_path(&(), Some(namespace)));
        Self { client, requests, name: name.to_owned() }
    }

    /// Reads the Secret; returns `None` if it does not exist.
    pub(super) async fn read(&self) -> Result<Option<Secret>, Error> {
        let request = self.requests.get(&self.name, &GetParams::default()).map_err(Error::BuildRequest)?;
        match self.client.request_text(request).await {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(Error::SerdeError),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the Secret if it has not changed since it was read, or still does not exist; otherwise returns a
    /// conflict.
    pub(super) async fn write(&self, secret: &Secret) -> Result<(), Error> {
        let body = serde_json::to_vec(secret).map_err(Error::SerdeError)?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = if secret.metadata.resource_version.is_some() {
            self.requests.replace(&self.name, &params, body)
        } else {
            self.requests.create(&params, body)
        };
        self.client.request_text(request.map_err(Error::BuildRequest)?).await?;
        Ok(())
    }
}

/// Describes an API server error in a short text without anything that may be a key.
pub(super) fn problem(error: &Error) -> String {
    let text = match error {
        Error::Api(status) => format!("{} ({} {})", status.message, status.reason, status.code),
        Error::SerdeError(error) => {
            format!("the answer cannot be read (line {}, column {})", error.line(), error.column())
        }
        Error::FromUtf8(_) => "the answer is no text".to_owned(),
        other => other.to_string(),
    };
    printable(&without_keys(&text), LONGEST_PROBLEM)
}

/// Replaces everything that is as long as a line of base64 with an ellipsis.
fn without_keys(text: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_base64(c)) {
        let word = piece.trim_end_matches(|c| !is_base64(c));
        if word.len() < LONGEST_WORD {
            shown.push_str(piece);
        } else {
            shown.push('…');
            shown.extend(piece.chars().filter(|c| !is_base64(*c)));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::Error;
    use kube::core::Status;

    use super::problem;

    #[test]
    fn what_the_api_server_says_is_told_and_cut() {
        let status = |message: &str| Error::Api(Status::failure(message, "Forbidden").with_code(403).boxed());
        let message = "secrets \"azure-wi-webhook-ca\" is forbidden: User \
                       \"system:serviceaccount:azure-workload-identity-system:azure-wi-webhook-admin\" cannot get \
                       resource \"secrets\" in API group \"\"";
        assert_eq!(problem(&status(message)), format!("{message} (Forbidden 403)"));
        assert_eq!(problem(&status(&"word ".repeat(1000))).chars().count(), 301);
    }

    #[test]
    fn nothing_that_may_be_a_key_is_told() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        let base64 =
            k8s_openapi::serde_json::to_string(&k8s_openapi::ByteString(key.clone().into())).unwrap();
        let denied = format!("denied the request: {key} {base64} {}", key.replace('\n', "\\n"));
        let denied = Error::Api(Status::failure(&denied, "Invalid").with_code(422).boxed());
        let mut told = vec![problem(&denied)];
        for answer in [format!("{{\"data\": {base64}}}"), base64.clone(), format!("{{\"data\": [{base64}]}}")]
        {
            told.push(problem(&Error::SerdeError(serde_json::from_str::<Secret>(&answer).unwrap_err())));
        }
        let no_text = String::from_utf8([key.as_bytes(), b"\xff"].concat()).unwrap_err();
        told.push(problem(&Error::FromUtf8(no_text)));
        for told in told {
            let is_shown =
                lines.iter().any(|line| told.contains(&line[..20])) || told.contains(&base64[1..20]);
            assert!(!is_shown, "{told}");
        }
    }
}
