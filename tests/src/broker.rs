//! A RabbitMQ vhost of the test's own, and what other programs do with the queues in it.

mod breaking;

use std::{net::SocketAddr, time::Duration};

use common::queue::topology;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, Consumer,
    message::Delivery,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicRejectOptions,
        ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{env::required, wait::PATIENCE};

/// Where RabbitMQ listens, for a proxy before it.
pub fn address() -> SocketAddr {
    let url: reqwest::Url = required("AMQP_URL").parse().expect("AMQP_URL is a URL");
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5672));
    let address = format!("{host}:{port}").parse();
    address.expect("the host of AMQP_URL is an address")
}

/// A vhost.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    amqp_url: String,
}

impl Vhost {
    /// Creates it.
    pub async fn create() -> Self {
        let name = format!("e2e-{}", Uuid::new_v4().simple());
        let mut url: reqwest::Url = required("AMQP_URL").parse().expect("AMQP_URL is a URL");
        let user = url.username().to_owned();
        url.set_path(&name);
        manage(Method::PUT, &format!("vhosts/{name}"), json!({})).await;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        manage(Method::PUT, &format!("permissions/{name}/{user}"), all).await;
        Self {
            name,
            amqp_url: url.into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// Makes a user with this password, and returns the URL with it in place of the usual one.
    pub async fn add_user(&self, password: &str) -> String {
        self.add_user_with(password, [".*"; 3].map(String::from))
            .await
    }

    /// The same who may configure, write and read what these patterns match, and nothing else.
    pub async fn add_user_with(&self, password: &str, rights: [String; 3]) -> String {
        let user = &self.name;
        let body = json!({"password": password, "tags": ""});
        manage(Method::PUT, &format!("users/{user}"), body).await;
        let [configure, write, read] = rights;
        let rights = json!({"configure": configure, "write": write, "read": read});
        manage(Method::PUT, &format!("permissions/{user}/{user}"), rights).await;
        let mut url: reqwest::Url = self.amqp_url.parse().unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url.into()
    }

    /// Throws away what waits in a queue.
    pub async fn purge(&self, queue: &str) {
        assert!(self.try_purge(queue).await, "{queue} is not purged");
    }

    /// Likewise; false where the broker does not do it now, as after a start.
    pub async fn try_purge(&self, queue: &str) -> bool {
        let path = format!("queues/{}/{queue}/contents", self.name);
        let answer = ask(Method::DELETE, &path, json!({})).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Removes it with all its queues, and the user that it may have; best effort.
    pub async fn delete_now(&self) {
        let _ = ask(Method::DELETE, &format!("users/{}", self.name), json!({})).await;
        let _ = ask(Method::DELETE, &format!("vhosts/{}", self.name), json!({})).await;
    }

    /// A connection as another program would have it. The topology is there.
    pub async fn connect(&self) -> OtherProgram {
        let connection = common::queue::connect(&self.amqp_url, "another program")
            .await
            .expect("RabbitMQ answers at AMQP_URL (see tests/run.sh)");
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        OtherProgram {
            _connection: connection,
            channel,
        }
    }
}

async fn ask(method: Method, path: &str, body: Value) -> reqwest::Result<reqwest::Response> {
    let base = required("AUDIT_EXPORT_TEST_RABBITMQ_API");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.request(method, format!("{}/{path}", base.trim_end_matches('/')));
    request.json(&body).timeout(PATIENCE).send().await
}

async fn manage(method: Method, path: &str, body: Value) {
    let answer = ask(method, path, body)
        .await
        .and_then(|a| a.error_for_status());
    answer
        .expect("the management API answers at AUDIT_EXPORT_TEST_RABBITMQ_API (see tests/run.sh)");
}

/// Another service of the vendor's, connected to the broker.
pub struct OtherProgram {
    _connection: Connection,
    channel: Channel,
}

/// A message as it arrived.
#[derive(Debug)]
pub struct Message {
    /// What it was routed by.
    pub routing_key: String,
    /// Its body, null where that is not JSON.
    pub body: Value,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The id that tells which question it answers.
    pub correlation_id: Option<String>,
    /// Why it is a dead letter.
    pub reason: Option<String>,
    /// Why the broker made it a dead letter, and where.
    pub death: Option<Death>,
}

/// What the broker says of a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub struct Death {
    /// Such as `rejected` or `delivery_limit`.
    pub reason: String,
    /// The queue where it had waited.
    pub queue: String,
}

impl Death {
    /// Reads the newest entry of the header `x-death`.
    fn of(headers: &FieldTable) -> Option<Self> {
        let deaths = headers.inner().get("x-death")?.as_array()?;
        let death = deaths.as_slice().first()?.as_field_table()?;
        let text = |name: &str| Some(death.inner().get(name)?.as_long_string()?.to_string());
        Some(Self {
            reason: text("reason")?,
            queue: text("queue")?,
        })
    }
}

impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let reason = headers.inner().get(topology::REASON_HEADER);
        let reason = reason
            .and_then(|value| value.as_long_string())
            .map(ToString::to_string);
        let correlation_id = delivery.properties.correlation_id().as_ref();
        Self {
            routing_key: delivery.routing_key.to_string(),
            body: serde_json::from_slice(&delivery.data).unwrap_or_default(),
            correlation_id: correlation_id.map(ToString::to_string),
            reason,
            death: Death::of(&headers),
            bytes: delivery.data,
        }
    }
}

impl OtherProgram {
    /// Submits a job.
    pub async fn submit(&self, routing_key: &str, job: &Value) {
        let body = job.to_string();
        self.publish(routing_key, body.as_bytes(), BasicProperties::default())
            .await;
    }

    /// Publishes anything to the exchange of the jobs, and waits until it is in a queue.
    pub async fn publish(&self, routing_key: &str, body: &[u8], properties: BasicProperties) {
        let exchange = topology::JOBS_EXCHANGE.into();
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let publish =
            self.channel
                .basic_publish(exchange, routing_key.into(), mandatory, body, properties);
        let confirmation = publish.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack(), "{confirmation:?}");
    }

    /// Listens for outcomes from now on.
    pub async fn outcomes(&self) -> Listener {
        self.listen(topology::RESULTS_EXCHANGE, &["#"]).await
    }

    /// Gets a copy of every job that is published from now on.
    pub async fn jobs(&self) -> Listener {
        let kinds = [topology::EXPORT, topology::TEST_CONNECTION].map(|queue| queue.routing_key);
        self.listen(topology::JOBS_EXCHANGE, &kinds).await
    }

    async fn listen(&self, exchange: &str, routing_keys: &[&str]) -> Listener {
        let (queue, listener) = self.private_queue().await;
        for key in routing_keys {
            self.channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.into(),
                    (*key).into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .unwrap();
        }
        listener
    }

    /// A queue that only this program reads: its name, and what arrives.
    pub async fn private_queue(&self) -> (String, Listener) {
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .channel
            .queue_declare("".into(), exclusive, FieldTable::default())
            .await
            .unwrap();
        let name = queue.name().to_string();
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumer = self
            .channel
            .basic_consume(
                name.as_str().into(),
                "".into(),
                no_ack,
                FieldTable::default(),
            )
            .await
            .unwrap();
        (name, Listener(consumer))
    }

    /// Takes messages out of a queue and gives them back, again and again, until one is a dead letter;
    /// returns it.
    pub async fn reject_until_dead(&self, queue: &str) -> Message {
        crate::eventually("a message is rejected too often", || async {
            let get = self
                .channel
                .basic_get(queue.into(), BasicGetOptions::default());
            if let Some(message) = get.await.unwrap() {
                let again = BasicRejectOptions { requeue: true };
                message.reject(again).await.unwrap();
            }
            self.take(topology::DEAD_LETTERS).await
        })
        .await
    }

    /// Takes a message out of a queue, if there is one.
    async fn take(&self, queue: &str) -> Option<Message> {
        let get = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), get).await.unwrap();
        got.map(|message| message.delivery.into())
    }

    /// The next dead letter.
    pub async fn dead_letter(&self) -> Message {
        crate::eventually("a dead letter", || self.take(topology::DEAD_LETTERS)).await
    }
}

/// Messages as they arrive.
pub struct Listener(Consumer);

impl Listener {
    /// The next message.
    pub async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let next = next.expect("a message arrives in time");
        next.expect("the queue stays").unwrap().into()
    }

    /// The next message of this type; others are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Message {
        loop {
            let message = self.next().await;
            if message.body["type"] == kind {
                return message;
            }
        }
    }

    /// What has arrived when nothing more does for this long.
    pub async fn rest(&mut self, silence: Duration) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(silence, self.0.next()).await {
            messages.push(message.unwrap().into());
        }
        messages
    }
}
