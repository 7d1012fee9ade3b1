use clap::CommandFactory;

use super::*;

fn read(arguments: &[&str]) -> Result<Cli, String> {
    let arguments = std::iter::once("audit-export-api").chain(arguments.iter().copied());
    Cli::read(arguments.map(OsString::from)).map_err(|error| error.to_string())
}

const GOOD: [&str; 10] = [
    "--database-url",
    "postgres://u:hunter2@localhost/db",
    "--amqp-url",
    "amqp://u:hunter2@localhost",
    "--jwt-secret",
    "0123456789abcdef0123456789abcdef",
    "--jwt-issuer",
    "https://login.example",
    "--jwt-audience",
    "audit-export",
];

fn with(changes: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut arguments = GOOD.to_vec();
    for (name, value) in changes {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => arguments[at + 1] = value,
            None => arguments.extend([*name, *value]),
        }
    }
    arguments
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn serve_is_the_default() {
    let Command::Serve(config) = read(&GOOD).unwrap().command else {
        panic!()
    };
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(
        (
            config.interval_seconds,
            config.test_timeout_seconds,
            config.drain_seconds
        ),
        (300, 30, 25)
    );
    assert!(config.admin_listen.is_none() && config.jwks_url.is_none());
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(matches!(
        read(&["--log-format", "json", "openapi"]).unwrap().command,
        Command::Openapi
    ));
}

#[test]
fn a_bad_value_names_its_variable_and_no_secret() {
    for (changes, variable) in [
        (("--listen", "nowhere"), "AUDIT_EXPORT_LISTEN"),
        (("--interval-seconds", "0"), "AUDIT_EXPORT_INTERVAL_SECONDS"),
        (
            ("--test-timeout-seconds", "x"),
            "AUDIT_EXPORT_TEST_TIMEOUT_SECONDS",
        ),
        (("--drain-seconds", "3601"), "AUDIT_EXPORT_DRAIN_SECONDS"),
        (("--tests-per-minute", "0"), "AUDIT_EXPORT_TESTS_PER_MINUTE"),
        (
            ("--runs-per-minute", "1000001"),
            "AUDIT_EXPORT_RUNS_PER_MINUTE",
        ),
        (("--max-requests", "15"), "AUDIT_EXPORT_MAX_REQUESTS"),
        (("--max-connections", "0"), "AUDIT_EXPORT_MAX_CONNECTIONS"),
        (
            ("--jwks-url", "http://u:hunter2@login.example/keys"),
            "AUDIT_EXPORT_JWT_JWKS_URL",
        ),
        (
            ("--principal-arn", "arn:aws:iam::123456789012:root"),
            "AUDIT_EXPORT_PRINCIPAL_ARN",
        ),
        (("--jwt-secret", "hunter2"), "AUDIT_EXPORT_JWT_SECRET"),
        (("--jwt-issuer", " "), "AUDIT_EXPORT_JWT_ISSUER"),
        (("--jwt-audience", ""), "AUDIT_EXPORT_JWT_AUDIENCE"),
        (("--database-url", "mysql://hunter2@x"), "DATABASE_URL"),
        (("--amqp-url", "http://u:hunter2@x"), "AMQP_URL"),
        (("--amqp-url", "amqp:u:hunter2@x"), "AMQP_URL"),
        (("--amqp-url", "hunter2://u@x"), "AMQP_URL"),
        (("--log-format", "xml"), "AUDIT_EXPORT_LOG_FORMAT"),
    ] {
        let error = read(&with(&[changes])).unwrap_err();
        assert!(error.contains(variable), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn help_shows_every_variable() {
    let help = read(&["--help"]).unwrap_err();
    for name in [
        "DATABASE_URL",
        "DATABASE_OWNER_URL",
        "AMQP_URL",
        "AUDIT_EXPORT_LISTEN",
        "AUDIT_EXPORT_ADMIN_LISTEN",
        "AUDIT_EXPORT_JWT_SECRET",
        "AUDIT_EXPORT_JWT_JWKS_URL",
        "AUDIT_EXPORT_JWT_ISSUER",
        "AUDIT_EXPORT_JWT_AUDIENCE",
        "AUDIT_EXPORT_INTERVAL_SECONDS",
        "AUDIT_EXPORT_TEST_TIMEOUT_SECONDS",
        "AUDIT_EXPORT_PRINCIPAL_ARN",
        "AUDIT_EXPORT_DRAIN_SECONDS",
        "AUDIT_EXPORT_TESTS_PER_MINUTE",
        "AUDIT_EXPORT_RUNS_PER_MINUTE",
        "AUDIT_EXPORT_MAX_REQUESTS",
        "AUDIT_EXPORT_MAX_CONNECTIONS",
        "AUDIT_EXPORT_LOG_FORMAT",
        "RUST_LOG",
    ] {
        assert!(help.contains(name), "{name} is not in\n{help}");
    }
}

#[test]
fn tokens_grant_something() {
    let rest = [
        "--jwt-secret",
        GOOD[5],
        "--jwt-issuer",
        "i",
        "--jwt-audience",
        "a",
    ];
    let token = |arguments: &[&str]| read(&[&["token"], arguments, &rest].concat());
    assert!(token(&["--org", "acme", "--role", "admin"]).is_ok());
    assert!(token(&["--scope", "orgs:write"]).is_ok());
    assert!(token(&["--scope", "orgs:write", "--subject", "billing"]).is_ok());
    for bad in [
        &[][..],
        &["--org", "acme"],
        &["--role", "admin"],
        &["--subject", "kim"],
        &["--org", "a/b", "--role", "admin"],
        &["--org", "acme", "--role", "boss"],
    ] {
        assert!(token(bad).is_err(), "{bad:?}");
    }
}
