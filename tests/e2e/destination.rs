//! What decides where events go, beyond bucket and role: who must own the bucket, which key encrypts,
//! what makes another destination of it, and which of two admins is heard.

mod admins;
mod keys;
mod owner;
mod versions;

use harness::Customer;
use serde_json::{Value, json};

/// A stranger's account.
const STRANGER: &str = "999999999999";

/// Settings of a customer who names a key.
fn with_key(customer: &Customer, key: &str) -> Value {
    customer.settings_with(json!({"kmsKeyArn": key}))
}

/// Checks that a test failed in this stage, and returns the sentence.
#[track_caller]
fn failed_in(result: &Value, stage: &str) -> String {
    assert_eq!(result["success"], false, "{result}");
    let stages = result["stages"].as_array().unwrap();
    let failed = stages.iter().find(|stage| stage["success"] == false);
    let failed = failed.unwrap();
    assert_eq!(failed["name"], stage, "{result}");
    assert_eq!(failed["error"], result["error"], "{result}");
    failed["error"].as_str().unwrap().to_owned()
}
