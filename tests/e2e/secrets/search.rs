//! Looking for secrets in what came out.

/// What must not come out.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        assert!(secret.len() >= 3, "{secret} stands in everything");
        self.0.push(secret.to_owned());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// A line that holds a secret in any form that requests and debug output give it.
    pub(super) fn leak<'t>(&self, text: &'t str) -> Option<(&str, &'t str)> {
        self.iter().find_map(|secret| {
            let forms = forms(secret);
            let mut lines = text.lines();
            let line = lines.find(|line| forms.iter().any(|form| line.contains(form.as_str())))?;
            Some((secret, line))
        })
    }

    /// Fails where a secret stands in a text.
    #[track_caller]
    pub(super) fn must_not_be_in(&self, what: &str, text: &str) {
        if let Some((secret, line)) = self.leak(text) {
            panic!("{secret} stands in {what}: {line}");
        }
    }
}

/// As it is; as in a form or a query; as in a JSON string; as the debug form of bytes.
fn forms(secret: &str) -> [String; 4] {
    let encoded = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let quoted = serde_json::to_string(secret).unwrap();
    let bytes = format!("{:?}", secret.as_bytes());
    [
        secret.to_owned(),
        encoded,
        quoted.trim_matches('"').to_owned(),
        bytes.trim_matches(['[', ']']).to_owned(),
    ]
}

#[test]
fn secrets_are_found_in_every_form() {
    const ROLE: &str = "arn:aws:iam::210987654321:role/x";
    let mut secrets = Secrets::default();
    secrets.add(ROLE);
    for text in [
        format!("a line\nrole={ROLE} and more"),
        "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fx&Version=1".into(),
        format!("data: {:?}", format!("x{ROLE}y").as_bytes()),
    ] {
        assert!(secrets.leak(&text).is_some(), "{text}");
    }
    assert_eq!(secrets.leak("arn:aws:iam::********4321:role/…"), None);
}
