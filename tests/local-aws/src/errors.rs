//! Error documents as AWS writes them. s3s writes code and message; the rest is put in here.

use std::fmt::Write;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

/// Code and message of an error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An S3 error with a code that s3s does not know, or with another status than it would choose.
pub(crate) fn custom(status: StatusCode, code: &str, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message.into());
    error.set_status_code(status);
    error
}

/// An unexpected failure of the file system.
pub(crate) fn internal(error: std::io::Error) -> S3Error {
    tracing::error!(%error, "file system");
    let mut answer = S3Error::with_message(
        S3ErrorCode::InternalError,
        format!("We encountered an internal error. Please try again. ({error})"),
    );
    answer.set_source(Box::new(error));
    answer
}

pub(crate) fn access_denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

pub(crate) fn no_such_upload() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have \
         been aborted or completed.",
    )
}

pub(crate) fn precondition_failed() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold",
    )
}

impl Fault {
    /// Reads an error document of s3s and fills in AWS's message where it has none.
    pub(crate) fn read(xml: &str) -> Self {
        let code = element(xml, "Code").unwrap_or_else(|| "InternalError".into());
        let message = element(xml, "Message").unwrap_or_else(|| usual_message(&code).into());
        Self { code, message }
    }

    /// The document that S3 sends, with what it adds to some errors.
    pub(crate) fn s3_xml(
        &self,
        resource: &str,
        request_id: &str,
        details: &[(&str, String)],
    ) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        push(&mut xml, "Code", &self.code);
        push(&mut xml, "Message", &self.message);
        for (name, text) in details {
            push(&mut xml, name, text);
        }
        push(&mut xml, "Resource", resource);
        push(&mut xml, "RequestId", request_id);
        xml.push_str("</Error>");
        xml
    }

    /// The document that STS sends.
    pub(crate) fn sts_xml(&self, request_id: &str) -> String {
        let mut xml = format!("<ErrorResponse xmlns=\"{STS_NAMESPACE}\"><Error>");
        push(&mut xml, "Type", "Sender");
        push(&mut xml, "Code", &self.code);
        push(&mut xml, "Message", &self.message);
        xml.push_str("</Error>");
        push(&mut xml, "RequestId", request_id);
        xml.push_str("</ErrorResponse>");
        xml
    }
}

pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Appends `<name>text</name>`.
pub(crate) fn push(xml: &mut String, name: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = write!(xml, "<{name}>");
    for one in text.chars() {
        match one {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            other => xml.push(other),
        }
    }
    let _ = write!(xml, "</{name}>");
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let mut plain = text.to_owned();
    for (entity, one) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        plain = plain.replace(entity, one);
    }
    Some(plain)
}

fn usual_message(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "Access Denied",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your \
             key and signing method."
        }
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way_through_xml() {
        let fault = Fault {
            code: "AccessDenied".into(),
            message: "on \"arn:<a>&'b'\"".into(),
        };
        let xml = fault.s3_xml("/b/k", "ID", &[("Region", "eu-central-1".into())]);
        assert_eq!(Fault::read(&xml), fault);
        assert!(xml.contains("<Region>eu-central-1</Region>"));
        assert_eq!(Fault::read(&fault.sts_xml("ID")), fault);
    }
}
