//! What an operator, or an accident, does to a vhost.

use std::collections::BTreeSet;

use common::queue::topology::JobQueue;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Vhost, ask, manage};
use crate::eventually;

impl Vhost {
    /// Removes a queue with the messages in it.
    pub async fn delete_queue(&self, queue: &str) {
        let path = format!("queues/{}/{queue}", self.name);
        manage(Method::DELETE, &path, json!({})).await;
    }

    /// Removes an exchange with its bindings.
    pub async fn delete_exchange(&self, exchange: &str) {
        let path = format!("exchanges/{}/{exchange}", self.name);
        manage(Method::DELETE, &path, json!({})).await;
    }

    /// Removes the binding by which jobs reach their queue.
    pub async fn unbind(&self, queue: JobQueue) {
        let (vhost, exchange) = (&self.name, common::queue::topology::JOBS_EXCHANGE);
        let JobQueue { routing_key, queue } = queue;
        let path = format!("bindings/{vhost}/e/{exchange}/q/{queue}/{routing_key}");
        manage(Method::DELETE, &path, json!({})).await;
    }

    /// Whether there is such a queue.
    pub async fn has_queue(&self, queue: &str) -> bool {
        let path = format!("queues/{}/{queue}", self.name);
        let answer = ask(Method::GET, &path, json!({})).await.unwrap();
        match answer.status() {
            StatusCode::OK => true,
            StatusCode::NOT_FOUND => false,
            other => panic!("{other}"),
        }
    }

    /// Closes the connections of the vhost, as an operator does, until at least so many have been
    /// closed; returns how many were.
    pub async fn close_connections(&self, at_least: usize) -> usize {
        let closed = std::sync::Mutex::new(BTreeSet::new());
        eventually("connections are closed", || async {
            for name in self.connections().await {
                let path = format!("connections/{name}");
                let answer = ask(Method::DELETE, &path, json!({})).await.unwrap();
                // Otherwise it has ended already, and the list is old.
                if answer.status().is_success() {
                    closed.lock().unwrap().insert(name);
                }
            }
            let count = closed.lock().unwrap().len();
            (count >= at_least).then_some(count)
        })
        .await
    }

    async fn connections(&self) -> Vec<String> {
        let path = format!("vhosts/{}/connections", self.name);
        let answer = ask(Method::GET, &path, json!({})).await.unwrap();
        let connections: Vec<Value> = answer.json().await.unwrap();
        // One that is just coming about or ending may have no name.
        let names = connections.iter().filter_map(|c| c["name"].as_str());
        names.map(str::to_owned).collect()
    }
}
