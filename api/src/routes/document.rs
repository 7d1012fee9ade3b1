//! What the OpenAPI document says beside what stands at the routes.

mod fields;

use utoipa::openapi::{
    Content, Header, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    header::HeaderBuilder,
    link::LinkBuilder,
    path::{Operation, PathItem},
    schema::{ObjectBuilder, Type},
    security::{Http, HttpAuthScheme, SecurityScheme},
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "audit-export",
        description = "Exports an organisation's audit events to its own S3 bucket.\n\n\
            Every failure is `{\"error\": \"<a sentence>\", \"code\": \"<stable_snake_case>\"}`. \
            Times are RFC 3339 in UTC.\n\n\
            Every answer has an `X-Request-Id`: that of the request, where it sent one of at most 128 of \
            `A-Z a-z 0-9 _ . : -`, or else a new one. It stands in our logs. No answer may be cached or \
            framed, and there is no CORS: browsers' pages of other origins cannot read any.",
    ),
    modifiers(&BearerAuth),
    security(("bearer" = [])),
    tags(
        (name = "configuration", description = "Where an organisation's events go. For its admins and owners."),
        (name = "runs", description = "What was exported, and when. For admins and owners."),
        (name = "platform", description = "For the vendor's own services, by platform token."),
    ),
)]
pub(super) struct Document;

struct BearerAuth;

impl utoipa::Modify for BearerAuth {
    fn modify(&self, document: &mut OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.bearer_format = Some("JWT".to_owned());
        bearer.description = Some(
            "Organisation access by `orgs: {\"<orgId>\": \"owner\"|\"admin\"|\"member\"}` or `org_id` and `role`; \
             platform access by `scope`."
                .to_owned(),
        );
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    }
}

/// What any request may meet.
const ALWAYS: [(u16, &str); 7] = [
    (
        401,
        "`unauthorized` or `token_expired`: `WWW-Authenticate` tells how to send a token, or what is wrong with it",
    ),
    (403, "`forbidden`: the token does not grant this"),
    (414, "`uri_too_long`: more than 8 KiB"),
    (
        429,
        "`rate_limited`: too many requests of the organisation at once; try again after `Retry-After`",
    ),
    (
        431,
        "`headers_too_large`: more than 100, or more than 64 KiB together",
    ),
    (
        500,
        "`internal`: our fault; it has been logged under the `X-Request-Id`",
    ),
    (
        503,
        "`overloaded`, `database_unavailable`, `auth_unavailable` or `shutting_down`: try again after \
         `Retry-After`",
    ),
];
/// What any request with a body may meet.
const WITH_BODY: [(u16, &str); 4] = [
    (400, "`invalid_json` or `incomplete_body`"),
    (408, "`request_timeout`: the body came too slowly"),
    (413, "`payload_too_large`"),
    (415, "`unsupported_media_type`"),
];
/// What an answer means where its route does not say.
const USUALLY: [(&str, &str); 6] = [
    ("200", "As it stands now"),
    ("201", "Saved"),
    ("202", "Queued"),
    ("204", "Deleted"),
    (
        "404",
        "`not_found`: there is no such organisation, or none that the token gives access to",
    ),
    (
        "422",
        "`invalid_request`: a field breaks a rule; `field` names it where it is one field's fault",
    ),
];
/// Headers that answers have beside those that stand at their routes: status, name, what it says.
const HEADERS: [(&str, &str, Type, &str); 3] = [
    (
        "401",
        "WWW-Authenticate",
        Type::String,
        "`Bearer`, and what is wrong with the token",
    ),
    ("429", "Retry-After", Type::Integer, "Seconds"),
    ("503", "Retry-After", Type::Integer, "Seconds"),
];
/// Which answers name a run that can be looked at: operation, status, and where its id stands.
const RUN_LINKS: [(&str, &str, &str); 2] = [
    ("startRun", "202", "$response.body#/id"),
    ("listRuns", "200", "$response.body#/0/id"),
];

/// Adds to every operation the rules for what it takes, and what any request may meet; to every answer
/// what it means and its headers, where the routes say nothing of it themselves.
pub(super) fn completed(mut document: OpenApi) -> OpenApi {
    fields::constrain_schemas(&mut document);
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            fields::constrain_request(operation);
            let with_body = operation.request_body.is_some().then_some(WITH_BODY);
            let met = ALWAYS.into_iter().chain(with_body.into_iter().flatten());
            let met: Vec<_> = met
                .map(|(status, text)| (status.to_string(), text))
                .collect();
            let id = operation.operation_id.clone().unwrap_or_default();
            let responses = &mut operation.responses.responses;
            for (status, description) in &met {
                let described = || RefOr::T(failure(description));
                responses.entry(status.clone()).or_insert_with(described);
            }
            for (status, response) in responses {
                if let RefOr::T(response) = response {
                    describe(status, response, &met);
                    add_headers(status, response);
                    add_links(&id, status, response);
                }
            }
        }
    }
    document
}

fn describe(status: &str, response: &mut Response, met: &[(String, &str)]) {
    let met = met.iter().map(|(status, text)| (status.as_str(), *text));
    let mut known = USUALLY.into_iter().chain(met);
    if response.description.is_empty()
        && let Some((_, text)) = known.find(|(known, _)| *known == status)
    {
        response.description = text.to_owned();
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn failure(description: &str) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("ErrorBody")));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", body)
        .build()
}

fn add_headers(status: &str, response: &mut Response) {
    let mut add = |name: &str, r#type, description: &str| {
        response
            .headers
            .entry(name.to_owned())
            .or_insert_with(|| header(r#type, description).into());
    };
    add(
        "X-Request-Id",
        Type::String,
        "Under which our logs have this request",
    );
    for (of, name, r#type, description) in HEADERS {
        if of == status {
            add(name, r#type, description);
        }
    }
}

fn add_links(operation: &str, status: &str, response: &mut Response) {
    const SHOW: &str = "getRun";
    for (of, when, id) in RUN_LINKS {
        if (of, when) == (operation, status) {
            let link = LinkBuilder::new()
                .operation_id(SHOW)
                .parameter("orgId", "$request.path.orgId")
                .parameter("runId", id);
            response.links.insert(SHOW.to_owned(), link.build().into());
        }
    }
}

fn header(r#type: Type, description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(r#type)))
        .description(Some(description))
        .build()
}
