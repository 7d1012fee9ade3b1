//! What an organisation is told of its side: the answers, the tools that they are meant for, and
//! whether the role may do what it has to and no more. The admin who follows it is in `stories`.

mod answers;
mod least;
mod programs;

use harness::{Org, api::Answer};

const BUCKET: (&str, &str) = ("bucket", "acme-audit-logs");
const REGION: (&str, &str) = ("region", "eu-central-1");
const KEY: &str = "arn:aws:kms:eu-central-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// All that a prefix can hold, such that it would break out of one text or another.
const HOSTILE_PREFIX: &str = "it's*/'(!)='/**/_.-/'";

async fn ask(org: &Org<'_>, query: &[(&str, &str)]) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let path = format!("/audit-export/setup?{query}");
    org.ask("GET", &path).send().await
}
