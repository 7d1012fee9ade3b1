use super::*;

async fn body(error: ApiError) -> (Response, serde_json::Value) {
    let (parts, body) = error.into_response().into_parts();
    let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
    (
        Response::from_parts(parts, axum::body::Body::empty()),
        serde_json::from_slice(&bytes).unwrap(),
    )
}

#[tokio::test]
async fn the_shape_is_error_and_code() {
    let (response, json) = body(ApiError::UnknownOrg).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(json["code"], "not_found");
    assert_eq!(json.as_object().unwrap().len(), 2);

    let (_, json) = body(ApiError::field("bucket", "bucket is missing")).await;
    assert_eq!(json["field"], "bucket");
    assert_eq!(json["error"], "bucket is missing");

    let invalid = IngestError::InvalidEvent {
        index: 3,
        field: Some("actor.type".into()),
        message: "event 3: actor.type is missing".into(),
    };
    let (response, json) = body(invalid.into()).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        (&json["index"], &json["field"]),
        (&3.into(), &"actor.type".into())
    );
}

#[tokio::test]
async fn headers_tell_what_to_do_next() {
    for (error, challenge) in [
        (ApiError::MissingToken, "Bearer realm=\"audit-export\""),
        (
            ApiError::Unauthorized("the token is not a JWT"),
            "Bearer realm=\"audit-export\", error=\"invalid_token\", error_description=\"the token is not a JWT\"",
        ),
    ] {
        let (response, _) = body(error).await;
        assert_eq!(response.headers()[WWW_AUTHENTICATE], challenge);
    }
    let (response, _) = body(ApiError::BrokerUnavailable).await;
    assert_eq!(response.headers()[RETRY_AFTER], "5");
    let (response, _) = body(ApiError::OrgBusy("lock".into())).await;
    assert_eq!(response.headers()[RETRY_AFTER], "1");
}

#[tokio::test]
async fn the_inside_stays_inside() {
    let (response, json) = body(ApiError::internal("password is hunter2")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!json.to_string().contains("hunter2"));
    let panic = panicked(Box::new("hunter2"));
    assert_eq!(panic.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn sql_states_are_told_apart() {
    for (state, expected) in [
        ("55P03", Trouble::Busy),
        ("40P01", Trouble::Busy),
        ("40001", Trouble::Busy),
        ("57P01", Trouble::Away),
        ("57P03", Trouble::Away),
        ("08006", Trouble::Away),
        ("53300", Trouble::Away),
        ("53100", Trouble::Full),
        ("25006", Trouble::Away),
        ("57014", Trouble::Away),
        ("42P01", Trouble::Ours),
        ("23505", Trouble::Ours),
        ("22P02", Trouble::Ours),
    ] {
        assert_eq!(sql_trouble(state), expected, "{state}");
    }
}

#[test]
fn a_chain_of_causes_is_one_line() {
    let io = std::io::Error::other("refused");
    let error = ApiError::DatabaseUnavailable(Box::new(io));
    assert!(chain(&error).ends_with(": refused"));
}
