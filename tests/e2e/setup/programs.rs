//! The programs that read what `setup` says: bash and ShellCheck, cfn-lint, readers of YAML and HCL, and
//! Terraform where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use harness::{World, process::run_script, project::root, tool};
use serde_json::Value;
use tempfile::TempDir;

use super::{BUCKET, HOSTILE_PREFIX, KEY, REGION, ask};

/// Stands in for the AWS CLI: keeps what it is given, and knows no role.
const AWS: &str = r#"#!/usr/bin/env bash
if [[ "$1 $2" == "iam get-role" ]]; then
  [[ -e $KEPT/create-role ]] || exit 254
  echo arn:aws:iam::222222222222:role/made
else
  printf '%s\0' "$@" >"$KEPT/$2"
fi
"#;

/// A folder with the three texts, and the answer that they are from.
struct Rendered {
    name: &'static str,
    role_name: &'static str,
    answer: Value,
}

impl Rendered {
    fn text(&self, member: &str) -> &str {
        self.answer[member].as_str().unwrap()
    }
}

/// Renders all kinds of settings, each into a folder of its own.
async fn render(dir: &Path) -> Vec<Rendered> {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let (hostile, odd) = (("prefix", HOSTILE_PREFIX), ("roleName", "+=,.@-_x"));
    let all = [
        ("kmsKeyArn", KEY),
        ("bucketOwner", "333333333333"),
        ("prefix", "audit"),
    ];
    let mut rendered = Vec::new();
    for (name, role_name, query) in [
        ("plain", "audit-export", &[][..]),
        ("all", "audit-export", &all),
        ("hostile", "+=,.@-_x", &[hostile, odd]),
    ] {
        let query = [&[BUCKET, REGION], query].concat();
        let answer = ask(&acme, &query).await.expect(200);
        let one = Rendered {
            name,
            role_name,
            answer,
        };
        fs::create_dir(dir.join(name)).unwrap();
        for (member, file) in [
            ("awsCli", "role.sh"),
            ("cloudFormation", "role.yaml"),
            ("terraform", "role.tf"),
        ] {
            fs::write(dir.join(name).join(file), one.text(member)).unwrap();
        }
        rendered.push(one);
    }
    rendered
}

#[track_caller]
fn satisfied(program: &str, output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{program} finds:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_reads_what_is_meant() {
    let dir = TempDir::new().unwrap();
    let rendered = render(dir.path()).await;
    let files = |file: &str| -> Vec<PathBuf> {
        let names = rendered.iter().map(|one| one.name);
        names.map(|name| dir.path().join(name).join(file)).collect()
    };
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let output = Command::new(tool("cfn-lint"))
                    .args(files("role.yaml"))
                    .output();
                satisfied("cfn-lint", &output.unwrap());
            });
            scope.spawn(|| {
                let output = Command::new(tool("shellcheck"))
                    .args(files("role.sh"))
                    .output();
                satisfied("ShellCheck", &output.unwrap());
                for one in &rendered {
                    script_does_what_is_meant(one);
                }
            });
            scope.spawn(|| templates_hold_what_is_meant(&rendered, dir.path()));
            scope.spawn(|| terraform_agrees(&rendered, dir.path()));
        });
    });
}

/// Each document, as the CLI gets it from bash.
fn script_does_what_is_meant(one: &Rendered) {
    let dir = TempDir::new().unwrap();
    let aws = dir.path().join("aws");
    fs::write(&aws, AWS).unwrap();
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(&aws)
            .status()
            .unwrap()
            .success()
    );
    let kept = dir.path().to_str().unwrap();
    let output = run_script(one.text("awsCli"), dir.path(), &[("KEPT", kept)]);
    satisfied("bash", &output);
    assert_eq!(output.stdout, b"arn:aws:iam::222222222222:role/made\n");
    for (action, option, member) in [
        (
            "create-role",
            "--assume-role-policy-document",
            "trustPolicy",
        ),
        ("put-role-policy", "--policy-document", "permissionsPolicy"),
    ] {
        let given = fs::read_to_string(dir.path().join(action)).unwrap();
        let given: Vec<&str> = given.split_terminator('\0').collect();
        let after = |name: &str| given[given.iter().position(|given| *given == name).unwrap() + 1];
        let policy: Value = serde_json::from_str(after(option)).unwrap();
        assert_eq!(policy, one.answer[member], "{}: {action}", one.name);
        assert_eq!(after("--role-name"), one.role_name);
    }
}

fn templates_hold_what_is_meant(rendered: &[Rendered], dir: &Path) {
    let program = root().join("tests/e2e/setup/read.py");
    let output = Command::new(tool("python")).arg(program).arg(dir).output();
    let output = output.unwrap();
    satisfied("python", &output);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    for one in rendered {
        for file in ["role.yaml", "role.tf"] {
            let read = &found[format!("{}/{file}", one.name)];
            assert_eq!(read["roleName"], one.role_name, "{}: {file}", one.name);
            for policy in ["trustPolicy", "permissionsPolicy"] {
                assert_eq!(read[policy], one.answer[policy], "{}: {file}", one.name);
            }
        }
    }
}

/// Terraform is nowhere to be had as a package; where it is installed, it is asked as well.
#[allow(clippy::print_stdout, reason = "it says what it has not looked at")]
fn terraform_agrees(rendered: &[Rendered], dir: &Path) {
    let terraform = || {
        let mut command = Command::new("terraform");
        command.env("CHECKPOINT_DISABLE", "1");
        command
    };
    if terraform().arg("version").output().is_err() {
        println!("NOT CHECKED by Terraform itself, which is not installed; by python-hcl2 only");
        return;
    }
    let output = terraform()
        .args(["fmt", "-check", "-diff", "-recursive"])
        .arg(dir)
        .output();
    satisfied("terraform fmt", &output.unwrap());
    // What it makes of the hostile one, without the resources, for which it would fetch a provider.
    let one = rendered.iter().find(|one| one.name == "hostile").unwrap();
    let (locals, _) = one.text("terraform").split_once("\nresource ").unwrap();
    let module = TempDir::new().unwrap();
    fs::write(module.path().join("locals.tf"), locals).unwrap();
    let expression = "jsonencode(jsondecode(local.audit_export_permissions_policy))\n";
    fs::write(module.path().join("expression"), expression).unwrap();
    let input = fs::File::open(module.path().join("expression")).unwrap();
    let output = terraform()
        .arg("console")
        .current_dir(module.path())
        .stdin(input)
        .output();
    let output = output.unwrap();
    satisfied("terraform console", &output);
    // It prints a string, which is JSON here, as a string of JSON.
    let printed: String = serde_json::from_slice(&output.stdout).unwrap();
    let policy: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(policy, one.answer["permissionsPolicy"]);
}
