//! TLS to Postgres, RabbitMQ and the key server: it works with an authority that one is told of, and
//! nothing is said to anybody whom that authority does not know by the name that was asked for.

mod refused;
mod works;

use std::{net::SocketAddr, path::Path, sync::Arc};

use harness::{
    World, broker, database,
    tls::{Protocol, TlsProxy},
    tokens::Key,
};
use tokio_rustls::rustls::ServerConfig;

use crate::auth::key_server::KeyServer;

/// The name that the programs are told to ask for.
const NAME: &str = "localhost";
/// What they are told of Postgres.
const STRICT: &str = "sslmode=verify-full";

/// The three servers, each behind a proxy.
struct Servers {
    postgres: TlsProxy,
    rabbitmq: TlsProxy,
    keys: TlsProxy,
    _keys: KeyServer,
}

impl Servers {
    async fn start(key: &Key, config: &Arc<ServerConfig>) -> Self {
        let keys = KeyServer::start(&[key]).await;
        let proxy =
            |upstream: SocketAddr, protocol| TlsProxy::start(upstream, protocol, config.clone());
        Self {
            postgres: proxy(database::address(), Protocol::Postgres).await,
            rabbitmq: proxy(broker::address(), Protocol::Tls).await,
            keys: proxy(keys.address(), Protocol::Tls).await,
            _keys: keys,
        }
    }

    /// Servers that know no TLS.
    async fn without_tls(key: &Key) -> Self {
        Self {
            postgres: TlsProxy::without_tls(Protocol::Postgres).await,
            rabbitmq: TlsProxy::without_tls(Protocol::Tls).await,
            keys: TlsProxy::without_tls(Protocol::Tls).await,
            _keys: KeyServer::start(&[key]).await,
        }
    }

    fn all(&self) -> [(&'static str, &TlsProxy); 3] {
        [
            ("Postgres", &self.postgres),
            ("RabbitMQ", &self.rabbitmq),
            ("the key server", &self.keys),
        ]
    }

    fn database_url(&self, world: &World) -> String {
        self.postgres.url(world.database.url(), NAME, STRICT)
    }

    fn owner_url(&self, world: &World, query: &str) -> String {
        self.postgres.url(world.database.owner_url(), NAME, query)
    }

    /// With what turns verifying off in other programs.
    fn amqp_url(&self, world: &World) -> String {
        let plain = world.broker.amqp_url();
        let secure = plain.replacen("amqp://", "amqps://", 1);
        self.rabbitmq.url(&secure, NAME, "verify=verify_none")
    }

    fn keys_url(&self) -> String {
        self.keys.url("https://localhost/keys", NAME, "")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
