//! The templates of `deploy/customer`, filled in. Whatever a value holds, it stays within its place: each
//! text has its own way of quoting.

const AWS_CLI: &str = include_str!("../../../deploy/customer/role.sh");
const CLOUD_FORMATION: &str = include_str!("../../../deploy/customer/role.yaml");
const TERRAFORM: &str = include_str!("../../../deploy/customer/role.tf");

/// What goes into the places.
#[derive(Debug)]
pub struct Values<'a> {
    pub region: &'a str,
    pub role_name: &'a str,
    pub principal: &'a str,
    pub external_id: &'a str,
    /// Both as JSON.
    pub trust_policy: &'a str,
    pub permissions_policy: &'a str,
}

impl Values<'_> {
    fn get(&self, place: &str) -> Option<&str> {
        Some(match place {
            "region" => self.region,
            "role_name" => self.role_name,
            "principal" => self.principal,
            "external_id" => self.external_id,
            "trust_policy" => self.trust_policy,
            "permissions_policy" => self.permissions_policy,
            _ => return None,
        })
    }

    /// A script for bash that calls the AWS CLI.
    pub fn aws_cli(&self) -> String {
        // All places are between single quotes.
        fill(AWS_CLI, self, |value| value.replace('\'', r"'\''"))
    }

    /// A template of CloudFormation, in YAML.
    pub fn cloud_formation(&self) -> String {
        // JSON is YAML, and nothing here is within `!Sub`. The role's name, between double quotes, has
        // neither these nor backslashes.
        fill(CLOUD_FORMATION, self, str::to_owned)
    }

    /// A configuration of Terraform, in HCL.
    pub fn terraform(&self) -> String {
        // Both between double quotes and in a heredoc.
        fill(TERRAFORM, self, |value| {
            value.replace("${", "$${").replace("%{", "%%{")
        })
    }
}

/// Puts quoted values into the places `{{name}}`. Further lines of a value are indented as the line that
/// the place is in.
fn fill(template: &str, values: &Values<'_>, quote: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    for line in template.split_inclusive('\n') {
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        let mut rest = line;
        while let Some((before, place, after)) = next_place(rest) {
            filled.push_str(before);
            let value = values.get(place).unwrap_or_default();
            filled.push_str(&quote(value).replace('\n', &format!("\n{indent}")));
            rest = after;
        }
        filled.push_str(rest);
    }
    filled
}

/// The first place in a line, with what is before it and after it.
fn next_place(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once("{{")?;
    let (place, after) = rest.split_once("}}")?;
    Some((before, place, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        region: "eu-central-1",
        role_name: "audit-export",
        principal: "arn:aws:iam::123456789012:role/audit-export",
        external_id: "{{role_name}}",
        trust_policy: "{\n  \"it's\": \"${*} %{if}\"\n}",
        permissions_policy: "{}",
    };

    #[test]
    fn every_place_is_known() {
        for template in [AWS_CLI, CLOUD_FORMATION, TERRAFORM] {
            let mut rest = template;
            let mut places = 0;
            while let Some((_, place, after)) = next_place(rest) {
                assert!(VALUES.get(place).is_some(), "{place}");
                places += 1;
                rest = after;
            }
            assert!(places >= 3, "{places} in {template}");
        }
    }

    #[test]
    fn values_stay_in_their_places() {
        let script = VALUES.aws_cli();
        assert!(
            script.contains("\ntrust_policy='{\n  \"it'\\''s\": \"${*} %{if}\"\n}'\n"),
            "{script}"
        );
        // What a value holds is no place.
        assert!(
            script.contains("\nexternal_id='{{role_name}}'\n"),
            "{script}"
        );
        let template = VALUES.cloud_formation();
        let policy = "\n        {\n          \"it's\": \"${*} %{if}\"\n        }\n";
        assert!(template.contains(policy), "{template}");
        let configuration = VALUES.terraform();
        let policy = "\n    {\n      \"it's\": \"$${*} %%{if}\"\n    }\n  POLICY\n";
        assert!(configuration.contains(policy), "{configuration}");
    }
}
